import pickle
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from parlando.contracts import TextError
from parlando.evaluation.intelligibility import (
    NORMALIZER,
    Intelligibility,
    Phones,
    character_errors,
    phone_errors,
    reference_phones,
    scoring_words,
    shuffled,
    token_errors,
    whole_frames,
)
from parlando.evaluation.intervals import ratio_interval
from parlando.evaluation.measure import Recording, Sample, Trial
from parlando.text.vocabulary import PHONE_CLASSES

TEN = "one two three four five six seven eight nine ten"


def word_errors(reference, hypothesis):
    return token_errors(scoring_words(reference), scoring_words(hypothesis))


def test_identical_texts_have_no_error():
    assert word_errors(TEN, TEN).edits == 0
    assert phone_errors(["h", "oʊ"], ["h", "oʊ"]).rate == 0.0


def test_one_wrong_word_in_ten_is_ten_percent_not_a_whole_sentence():
    count = word_errors(TEN, TEN.replace("four", "for"))
    assert (count.reference_length, count.substitutions, count.rate) == (10, 1, 0.1)


@pytest.mark.parametrize(
    ("hypothesis", "kind"),
    [
        ("one two four five six seven eight nine ten", "deletions"),
        ("one two three three four five six seven eight nine ten", "insertions"),
        ("one two tree four five six seven eight nine ten", "substitutions"),
    ],
)
def test_each_kind_of_edit_is_named(hypothesis, kind):
    count = word_errors(TEN, hypothesis)
    assert count.edits == getattr(count, kind) == 1


def test_the_reference_is_never_made_from_the_hypothesis():
    assert word_errors("all of this was said", "").rate == 1.0
    assert word_errors("yes", "no no no").rate == 3.0
    assert word_errors("a b", "b a").edits == 2


def test_an_empty_reference_is_refused():
    with pytest.raises(TextError, match="reference is empty"):
        word_errors("...", "words")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don’t STOP, well-known [NOISE] Café!", ["don't", "stop", "well", "known", "cafe"]),
        ("<sil> read(2) Mr. Smith's", ["read", "mister", "smith's"]),
        ("'quoted' — rock 'n' roll", ["quoted", "rock", "n", "roll"]),
        ("don\u02bct ﬁnd snake_case", ["don't", "find", "snake", "case"]),
        ("", []),
    ],
)
def test_scoring_words(text, words):
    assert scoring_words(text) == words


def test_the_error_of_a_corpus_weighs_by_words_and_covers_the_truth():
    counts = [word_errors("one", "two"), *[word_errors(TEN, TEN)] * 9]
    figure = ratio_interval([c.edits for c in counts], [c.reference_length for c in counts])
    assert figure.value == pytest.approx(1 / 91)
    assert figure.low <= figure.value <= figure.high
    assert figure.count == 10
    rates = np.random.default_rng(1).binomial(10, 0.2, size=400)
    figure = ratio_interval(rates, [10] * 400)
    assert figure.low < 0.2 < figure.high
    # Four hundred draws of ten: the standard error of the mean rate is 0.0063.
    assert 0.02 < figure.high - figure.low < 0.03


def test_intervals_refuse_nothing():
    with pytest.raises(ValueError, match="no ratio"):
        ratio_interval([], [])
    even = ratio_interval([3.0, 3.0], [1.0, 1.0])
    assert even.low == even.high == 3.0


@pytest.mark.parametrize("seed", range(5))
def test_shuffling_leaves_no_text_in_place_even_with_doubles(seed):
    texts = ["a", "b", "a", "c", "d", "b", "e"]
    partner = shuffled(texts, seed)
    assert sorted(partner) == list(range(7))
    assert all(texts[i] != texts[j] for i, j in enumerate(partner))
    assert shuffled(["x", "y"], seed) == [1, 0]


def test_shuffling_refuses_what_cannot_be():
    with pytest.raises(ValueError, match="cannot all change places"):
        shuffled(["a", "a", "b"])


def test_characters_are_counted_with_the_spaces_between_words():
    assert character_errors(["ab", "cd"], ["ab", "cd"]).rate == 0.0
    run_together = character_errors(["ab", "cd"], ["abcd"])
    assert (run_together.deletions, run_together.reference_length, run_together.rate) == (1, 5, 0.2)
    assert character_errors(["one"], ["two"]).substitutions == 3
    assert character_errors(["one"], []).deletions == 3
    with pytest.raises(TextError, match="one character"):
        character_errors([], ["word"])


class ToyRecognizer:
    """Hears what the first sample numbers; counts how often it was made and asked."""

    name = "toy"
    made: ClassVar[int] = 0
    asked: ClassVar[list[int]] = []
    SAYINGS = (TEN, TEN.replace("four", "for"), "", "one two")

    def __init__(self):
        type(self).made += 1

    def transcribe(self, samples, rate_hz):
        assert rate_hz == 16_000
        type(self).asked.append(int(samples[0]))
        return self.SAYINGS[int(samples[0])]


def sound(number):
    return np.full(1600, number, dtype=np.float32)


def ten(**more):
    return Trial(id="t", text="1 2 3 4 5 6 7 8 9 10", **more)


@pytest.fixture
def toy():
    ToyRecognizer.made, ToyRecognizer.asked = 0, []
    return Intelligibility(ToyRecognizer)


def test_one_wrong_word_in_ten_is_ten_percent_of_a_sample(toy):
    judged = toy.judge(Sample(trial=ten(), output=sound(1)))
    assert judged.values["wer"] == (1, 10)
    assert judged.values["cer"] == (1, len(TEN))
    assert judged.values["word_substitutions"] == (1, 1)
    assert judged.values["word_deletions"] == judged.values["word_insertions"] == (0, 1)
    assert judged.notes == {"reference": TEN, "heard": TEN.replace("four", "for")}
    assert "wer_human" not in judged.values
    assert "wer_control" not in judged.values


def test_output_and_recording_are_heard_each_by_itself(toy):
    """Elsewhere both transcripts were made from the output, and no error was ever found."""
    judged = toy.judge(Sample(trial=ten(), output=sound(3), reference=sound(1)))
    assert judged.values["wer"] == (8, 10)
    assert judged.values["wer_human"] == (1, 10)
    # Of characters it was the same there: "four" heard as "for" is one of them.
    assert judged.values["cer"] == (len(TEN) - len("one two"), len(TEN))
    assert judged.values["cer_human"] == (1, len(TEN))
    assert judged.notes["heard_human"] == TEN.replace("four", "for")
    same = toy.judge(Sample(trial=ten(), output=sound(1), reference=sound(1)))
    assert same.values["wer"] == same.values["wer_human"] == (1, 10)


def test_another_text_gives_the_level_of_chance(toy):
    judged = toy.judge(Sample(trial=ten(control_text="a very different text"), output=sound(0)))
    assert judged.values["wer"] == (0, 10)
    assert judged.values["wer_control"] == (10, 4)
    assert judged.values["word_insertions_control"] == (6, 1)


def test_silence_loses_every_word_and_a_sample_without_text_is_left_out(toy):
    assert toy.judge(Sample(trial=ten(), output=sound(2))).values["wer"] == (10, 10)
    assert toy.judge(Sample(trial=Trial(id="t"), output=sound(0))).values == {}
    with pytest.raises(TextError):
        toy.judge(Sample(trial=Trial(id="t", text="..."), output=sound(0)))


def test_the_recogniser_is_made_once_and_hears_a_recording_once(toy):
    trial = ten(reference=Recording(path=Path("human.wav")))
    for number in (0, 1, 3):
        toy.judge(Sample(trial=trial, output=sound(number), reference=sound(0)))
    assert ToyRecognizer.made == 1
    assert ToyRecognizer.asked == [0, 0, 1, 3]


def test_every_error_names_its_judge_its_floor_and_its_ceiling(toy):
    quantities = {quantity.key: quantity for quantity in toy.quantities}
    wer = quantities["wer"]
    assert (wer.unit, wer.better, wer.human, wer.control) == (
        "%",
        "lower",
        "wer_human",
        "wer_control",
    )
    assert {wer.human, wer.control} <= set(quantities)
    assert {quantity.judge for quantity in toy.quantities} == {f"toy; {NORMALIZER}"}
    judged = toy.judge(Sample(trial=ten(control_text="one"), output=sound(0), reference=sound(0)))
    assert set(judged.values) == set(quantities)


def test_the_default_judge_is_offline_and_can_be_sent_away():
    measure = pickle.loads(pickle.dumps(Intelligibility()))
    measure.check()
    assert measure.quantities[0].judge.startswith("pocketsphinx-5 en-us; ")
    silence = Sample(trial=ten(), output=np.zeros(8000, dtype=np.float32))
    assert measure.judge(silence).values["wer"][1] == 10


class ToyAligner:
    """Names the phones that its samples number."""

    rate_hz, hop_samples = 16_000, 200
    made: ClassVar[int] = 0

    def __init__(self):
        type(self).made += 1

    def recognize(self, waveform):
        assert len(waveform) % 200 == 0
        classes = waveform[100::200].round().int().tolist()
        return [PHONE_CLASSES[c] for c, before in zip(classes, [0, *classes], strict=False) if c]


def phone_sound(phones):
    return np.repeat([PHONE_CLASSES.index(p) for p in phones], 200).astype(np.float32)[:-1]


def test_phone_errors_of_output_recording_and_chance():
    phones = reference_phones("Seven ships.")
    assert phones == ["s", "ɛ", "v", "ə", "n", "ʃ", "ɪ", "p", "s"]
    measure = Phones(ToyAligner, "toy-aligner")
    trial = Trial(id="t", text="Seven ships.", control_text="No.")
    said = Sample(
        trial=trial,
        output=phone_sound(["sil", *phones[:-1], "sil"]),
        reference=phone_sound(["z", *phones[1:], "ɪ"]),
    )
    judged = measure.judge(said)
    assert judged.values == {"per": (1, 9), "per_human": (2, 9), "per_control": (7, 2)}
    assert judged.notes["heard"] == "s ɛ v ə n ʃ ɪ p"
    assert ToyAligner.made == 1
    assert pickle.loads(pickle.dumps(measure)).judge(said).values == judged.values
    assert measure.judge(Sample(trial=Trial(id="t"), output=said.output)).values == {}
    assert [q.judge for q in measure.quantities] == ["toy-aligner; espeak-ng en-us phones"] * 3


def test_a_real_phone_recogniser_hears_a_short_sound_of_another_rate():
    from parlando.aligner.config import tiny
    from parlando.aligner.model import Aligner

    aligner = Aligner(tiny()).eval()
    frames = whole_frames(np.zeros(10, dtype=np.float32), 16_000, aligner.rate_hz, 200)
    assert len(frames) == 1600
    aligner.recognize(frames)
    assert len(whole_frames(np.zeros(24_000, dtype=np.float32), 48_000, 16_000, 200)) == 8000
