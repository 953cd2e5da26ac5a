import pickle
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from reportlike import report

from parlando.contracts import TextError
from parlando.evaluation.measure import Row, Sample, Trial
from parlando.evaluation.robustness import (
    Robustness,
    alter,
    draw_alteration,
    found_in,
)
from parlando.evaluation.slips import (
    Slip,
    SpokenWords,
    channel_scorer,
    ctc_scorer,
    find_slips,
    spoken_words,
    word_stretch,
)
from parlando.generative.monotonic import viterbi
from parlando.reporting.document import headline
from parlando.text.vocabulary import PHONE_CLASSES, PHONES, base_phone, is_pause, is_phone

HOP = 200


def sentence(generator, words=8):
    lengths = generator.integers(2, 7, size=words)
    return tuple(tuple(generator.choice(PHONES, size=length)) for length in lengths)


def noisy(phones, generator, error_rate):
    """Recognise phones with substitutions, deletions and insertions in equal shares."""
    heard = []
    for phone in phones:
        kind = generator.random() / error_rate
        if kind >= 2 / 3:
            heard.append(phone)
        elif kind >= 1 / 3:
            heard.append(generator.choice(PHONES))
        if generator.random() < error_rate / 3:
            heard.append(generator.choice(PHONES))
    return heard


def tape(words, frames_per_phone=6):
    """Speech whose samples name their phone, so that it can be cut and recognised exactly."""
    symbols, durations = [], []
    for word in words:
        symbols += [*word, " "]
        durations += [frames_per_phone] * len(word) + [2]
    names = np.repeat([PHONE_CLASSES.index(s) if s != " " else 1 for s in symbols], durations)
    samples = np.repeat(names, HOP).astype(np.float32)
    return spoken_words(samples, symbols, durations, HOP)


def hits_and_false_alarms(detect, cases, seed=0):
    """Cut or double one word of each case; the share found, and the share of the whole flagged."""
    generator = np.random.default_rng(seed)
    hits = []
    for number, case in enumerate(cases):
        kind = "repeat" if number % 2 else "skip"
        word = int(generator.choice([i for i, phones in enumerate(case.words) if len(phones) > 2]))
        hits.append(found_in(detect(alter(case, word, kind), case.words), case.words, word, kind))
    return np.mean(hits), np.mean([bool(detect(case.samples, case.words)) for case in cases])


def recognise(samples):
    names = np.round(samples[HOP // 2 :: HOP]).astype(int)
    changes = np.flatnonzero(np.diff(names, prepend=-1))
    return [PHONE_CLASSES[n] for n in names[changes] if n > 1]


def posteriors(samples, generator, correct=0.85):
    """Peaked frame posteriors that name another phone in a share of the segments."""
    names = np.round(samples[HOP // 2 :: HOP]).astype(int)
    starts = np.flatnonzero(np.diff(names, prepend=-1))
    probability = np.full((len(names), len(PHONE_CLASSES)), 0.002)
    probability[:, 0] = 1.0
    for start, stop in zip(starts, [*starts[1:], len(names)], strict=True):
        heard = names[start]
        if heard > 1 and generator.random() > correct:
            heard = generator.integers(2, len(PHONE_CLASSES))
        middle = (start + stop) // 2
        probability[middle, 0] = 0.05
        probability[middle, heard] = 0.8
    return np.log(probability / probability.sum(1, keepdims=True))


WORDS = (("w", "ʌ", "n"), ("t", "uː"), ("θ", "ɹ", "iː"), ("f", "ɔː", "ɹ"))
FLAT = [phone for word in WORDS for phone in word]


UNKNOWN = ("s", "ɪ", "k", "s")


def test_what_was_expected_has_no_slip():
    assert find_slips(WORDS, channel_scorer(FLAT)) == []


@pytest.mark.parametrize("word", range(4))
def test_a_missing_and_a_doubled_word_are_named(word):
    missing = [p for i, w in enumerate(WORDS) for p in w if i != word]
    (slip,) = find_slips(WORDS, channel_scorer(missing))
    assert (slip.word, slip.kind) == (word, "skip")
    doubled = [p for i, w in enumerate(WORDS) for p in w * (1 + (i == word))]
    (slip,) = find_slips(WORDS, channel_scorer(doubled))
    assert (slip.word, slip.kind) == (word, "repeat")


def test_one_event_is_counted_once_and_two_events_twice():
    phrase_lost = [*WORDS[0], *WORDS[3]]
    assert {(s.word, s.kind) for s in find_slips(WORDS, channel_scorer(phrase_lost))} == {
        (1, "skip"),
        (2, "skip"),
    }
    thrice = [*FLAT, *WORDS[3], *WORDS[3]]
    assert [s.word for s in find_slips(WORDS, channel_scorer(thrice))] == [3, 3]


def test_words_that_are_meant_to_repeat_are_no_slip_until_one_is_lost():
    no = ("n", "oʊ")
    words = (no, no, no, WORDS[0])
    assert find_slips(words, channel_scorer([*no * 3, *WORDS[0]])) == []
    (slip,) = find_slips(words, channel_scorer([*no * 2, *WORDS[0]]))
    assert slip.kind == "skip"
    assert slip.word <= 2


def test_a_higher_margin_asks_for_more_evidence():
    missing = [*WORDS[0], *WORDS[2], *WORDS[3]]
    (slip,) = find_slips(WORDS, channel_scorer(missing))
    assert find_slips(WORDS, channel_scorer(missing), skip_margin_nats=slip.margin_nats + 1) == []


def test_silence_alone_is_all_words_skipped():
    slips = find_slips(WORDS, channel_scorer([]))
    assert sorted(slip.word for slip in slips) == [0, 1, 2, 3]
    assert {slip.kind for slip in slips} == {"skip"}
    silence = np.log(np.full((20, len(PHONE_CLASSES)), 1e-4))
    silence[:, 1] = 0.0
    (slip,) = find_slips(WORDS[:1], ctc_scorer(silence, PHONE_CLASSES))
    assert (slip.word, slip.kind) == (0, "skip")


@pytest.mark.parametrize("error_rate", [0.05, 0.15])
def test_the_detector_proves_itself_under_a_noisy_phone_string(error_rate):
    generator = np.random.default_rng(0)
    cases = [tape(sentence(generator)) for _ in range(50)]

    def detect(samples, words):
        heard = noisy(recognise(samples), generator, error_rate)
        score = channel_scorer(heard, error_rate=error_rate)
        return find_slips(words, score, insertion_margin_nats=5.0, repeat_phone_nats=0.0)

    hits, false_alarms = hits_and_false_alarms(detect, cases)
    assert hits >= 0.9
    assert false_alarms <= 0.05


def test_the_detector_proves_itself_under_unsure_posteriors():
    generator = np.random.default_rng(1)
    cases = [tape(sentence(generator)) for _ in range(50)]

    def detect(samples, words):
        return find_slips(words, ctc_scorer(posteriors(samples, generator), PHONE_CLASSES))

    hits, false_alarms = hits_and_false_alarms(detect, cases)
    assert hits >= 0.9
    assert false_alarms <= 0.05


def test_ctc_scores_agree_with_enumeration():
    rows = np.log(np.array([[0.5, 0.1, 0.3, 0.1], [0.2, 0.1, 0.6, 0.1]]))
    score = ctc_scorer(rows, ["<blank>", "sil", "a", "b"], error_rate=0.0)
    # Two frames, silence counts as blank: "a" is aa, a- or -a.
    expected = 0.3 * 0.6 + 0.3 * 0.3 + 0.6 * 0.6
    assert score([("a",)])[0] == pytest.approx(np.log(expected))
    assert score([("a", "b")])[0] == pytest.approx(np.log(0.3 * 0.1))
    assert score([("a", "b", "a")])[0] == -np.inf


def test_words_and_their_samples_are_found():
    symbols = ["h", "ˈaɪ", ",", "j", "ˌuː", "."]
    samples = np.arange(40 * HOP, dtype=np.float32)
    spoken = spoken_words(samples, symbols, [4, 6, 10, 5, 5, 10], HOP)
    assert spoken.words == (("h", "aɪ"), ("j", "uː"))
    assert spoken.spans == ((0, 10 * HOP), (20 * HOP, 30 * HOP))
    with pytest.raises(TextError, match="6 symbols and 1 durations"):
        spoken_words(samples, symbols, [40], HOP)
    with pytest.raises(TextError, match="no word"):
        spoken_words(samples, [".", ","], [1, 1], HOP)


def test_cutting_and_doubling_change_the_length_by_the_word_and_leave_no_click():
    time = np.arange(16000) / 16000
    samples = np.sin(2 * np.pi * 200 * time).astype(np.float32)
    spoken = SpokenWords(samples=samples, words=(("a",),), spans=((4013, 8009),))
    cut = alter(spoken, 0, "skip")
    doubled = alter(spoken, 0, "repeat")
    assert len(cut) == 16000 - 3996 - 80
    assert len(doubled) == 16000 + 3996 - 80
    steepest = np.abs(np.diff(samples)).max()
    assert np.abs(np.diff(cut)).max() < 1.5 * steepest
    assert np.abs(np.diff(doubled)).max() < 1.5 * steepest


@pytest.mark.parametrize(("gap", "named"), [(0, 0), (1, 0), (3, 2), (4, 3)])
def test_a_word_that_no_text_has_is_an_insertion_after_the_word_before_it(gap, named):
    heard = [p for word in [*WORDS[:gap], UNKNOWN, *WORDS[gap:]] for p in word]
    (slip,) = find_slips(WORDS, channel_scorer(heard))
    assert (slip.kind, slip.word) == ("insertion", named)


def test_posteriors_show_skips_repeats_and_insertions():
    generator = np.random.default_rng(5)
    found = {"skip": 0, "repeat": 0, "insertion": 0}
    for number in range(10):
        case = tape(sentence(generator))
        for kind in found:
            samples = alter(case, 3, kind, other=number % 2 * 6)
            score = ctc_scorer(posteriors(samples, generator), PHONE_CLASSES)
            found[kind] += found_in(find_slips(case.words, score), case.words, 3, kind)
    assert min(found.values()) >= 9, found


def test_an_inserted_word_lasts_as_long_as_it_does_elsewhere():
    spoken = SpokenWords(
        samples=np.arange(1000.0),
        words=(("a",), ("b",), ("c",)),
        spans=((0, 200), (200, 500), (600, 1000)),
    )
    assert len(alter(spoken, 0, "insertion", other=2, fade_samples=0)) == 1400
    put_in = alter(spoken, 0, "insertion", other=2, fade_samples=0)
    assert (put_in[199], put_in[200], put_in[599], put_in[600]) == (199, 600, 999, 200)


def test_a_word_that_the_aligner_has_to_squeeze_needs_less_to_be_called_skipped():
    frames = [18, 2, 18, 18]
    stretch = word_stretch(WORDS, frames)
    assert stretch[0] == pytest.approx(np.log((6 + 0.5 / 3) / 6))
    assert stretch[1] == pytest.approx(np.log((1 + 0.25) / 6), abs=0.3)
    assert stretch[1] < -1.4
    assert word_stretch(WORDS[:1], [0]) == [0.0]
    missing = [p for i, w in enumerate(WORDS) for p in w if i != 1]
    score = channel_scorer(missing)
    (slip,) = find_slips(WORDS, score, stretch=stretch)
    assert (slip.kind, slip.word) == ("skip", 1)
    unhurried = word_stretch(WORDS, [18, 12, 18, 18])
    margin = slip.margin_nats - 1.0
    assert find_slips(WORDS, score, stretch=stretch, skip_margin_nats=margin)
    assert not find_slips(WORDS, score, stretch=unhurried, skip_margin_nats=margin)


def test_what_is_found_has_the_right_place_and_sign():
    words = (*WORDS, ("n", "oʊ"), ("n", "oʊ"))
    repeat = [Slip(word=2, kind="repeat", margin_nats=9.0)]
    assert found_in(repeat, words, 2, "repeat")
    assert found_in(repeat, words, 3, "insertion")
    assert not found_in(repeat, words, 2, "skip")
    assert not found_in(repeat, words, 4, "repeat")
    assert not found_in([], words, 2, "repeat")


def test_alterations_are_drawn_of_every_kind_and_never_leave_nothing():
    generator = np.random.default_rng(0)
    case = tape(sentence(generator))
    drawn = [draw_alteration(case, generator) for _ in range(60)]
    assert {kind for _, kind, _ in drawn} == {"skip", "repeat", "insertion"}
    for word, kind, other in drawn:
        assert len(case.words[word]) >= 2
        assert kind != "insertion" or (abs(other - word) > 1 and len(case.words[other]) >= 3)
    assert draw_alteration(tape(WORDS[:1]), generator) is None
    two = {draw_alteration(tape(WORDS[:2]), generator)[1] for _ in range(20)}
    assert two == {"skip", "repeat"}


class TapeAligner:
    """Reads what the samples of a tape name: a perfect phone recogniser and aligner."""

    rate_hz, hop_samples = 16_000, HOP
    made: ClassVar[int] = 0

    def __init__(self):
        type(self).made += 1

    def features(self, waveform):
        return waveform[:, HOP // 2 :: HOP, None]

    def encode(self, mel, mask):
        assert mask.all()
        return mel

    def phone_log_probabilities(self, encoded):
        samples = np.repeat(encoded[0, :, 0].numpy(), HOP)
        return torch.from_numpy(posteriors(samples, np.random.default_rng(0), correct=1.0))[None]

    def align(self, waveform, symbols):
        named = waveform.numpy()[HOP // 2 :: HOP].round().astype(int)
        classes = [PHONE_CLASSES.index(base_phone(s)) if is_phone(s) else 1 for s in symbols]
        agree = np.where(named[:, None] == classes, 0.0, -5.0).astype(np.float32)
        return viterbi(agree, np.array([is_pause(symbol) for symbol in symbols]))


TEXT = "Seven ships sail away, slowly."


def text_tape(text=TEXT):
    from parlando.text.normalize import normalize
    from parlando.text.phonemes import phonemize

    symbols = phonemize(normalize(text))
    words = [[]]
    for symbol in symbols:
        if is_phone(symbol):
            words[-1].append(base_phone(symbol))
        elif words[-1]:
            words.append([])
    case = tape([tuple(word) for word in words if word])
    details = {
        "symbols": [s for word in case.words for s in (*word, " ")],
        "durations_frames": [n for word in case.words for n in (*[6] * len(word), 2)],
        "hop_samples": HOP,
        "rate_hz": 16_000,
    }
    return case, details


@pytest.mark.parametrize("kind", ["skip", "repeat", "insertion"])
def test_the_measure_counts_what_was_done_and_leaves_people_alone(kind):
    case, _ = text_tape()
    measure = Robustness(TapeAligner, "tape")
    # "away" shares no phone with "seven", and so is not taken for said twice.
    said = alter(case, 3, kind, other=0, fade_samples=0)
    trial = Trial(id="t", text=TEXT)
    judged = measure.judge(Sample(trial=trial, output=said, reference=case.samples))
    counts = {"skip": "skips", "repeat": "repeats", "insertion": "insertions"}
    for one, key in counts.items():
        assert judged.values[key] == (float(one == kind), 1)
        assert judged.values[f"{key}_human"] == (0, 1)
    assert judged.values["slipped"] == (1, 1)
    assert judged.values["slipped_human"] == (0, 1)
    (note,) = judged.notes["slips"]
    assert (note["kind"], note["word"], note["label"]) == (kind, 3, "away")
    assert judged.notes["slips_human"] == []
    keys = {quantity.key for quantity in measure.quantities}
    assert set(judged.values) <= keys
    assert {q.human for q in measure.quantities if q.human} <= keys


def test_hits_and_false_alarms_of_the_detector_have_lines_of_their_own(tmp_path):
    case, _ = text_tape()
    measure = Robustness(TapeAligner, "tape")
    sample = Sample(trial=Trial(id="t", text=TEXT), output=case.samples, reference=case.samples)
    row = Row(trial=sample.trial, values=measure.judge(sample).values)
    made = report([row], tmp_path, quantities=measure.quantities)
    lines = {cells[0].text: cells[1].text for cells in headline(made).rows}
    assert lines["Detector: human recordings that it flags (%)"] == "0.00"
    assert lines["Detector: words cut, doubled or put in that it finds (%)"] in ("0.0", "100.0")
    assert "Words skipped per sentence, recordings" not in lines


def test_another_text_gives_the_level_of_chance():
    case, _ = text_tape()
    trial = Trial(id="t", text=TEXT, control_text="Seven ships sail, slowly.")
    values = Robustness(TapeAligner, "tape").judge(Sample(trial=trial, output=case.samples)).values
    assert values["skips"] == values["slipped"] == (0, 1)
    assert values["slipped_control"] == (1, 1)
    keys = {quantity.key for quantity in Robustness(TapeAligner, "tape").quantities}
    assert set(values) <= keys


def test_false_alarms_are_known_from_prompts_where_nobody_read_the_text():
    case, _ = text_tape()
    measure = Robustness(TapeAligner, "tape")
    trial = Trial(id="t", text=TEXT, prompt_text=TEXT)

    def flagged(prompt, of=trial, **more):
        sample = Sample(trial=of, output=case.samples, prompt=prompt, **more)
        return measure.judge(sample).values.get("slipped_prompt")

    assert flagged(case.samples) == (0, 1)
    assert flagged(alter(case, 2, "skip", fade_samples=0)) == (1, 1)
    # The last word is cut in the middle, as prompts are: that is no slip of anybody's.
    assert flagged(case.samples[: sum(case.spans[-1]) // 2]) == (0, 1)
    assert flagged(case.samples, replace(trial, prompt_text=None)) is None
    assert flagged(case.samples, replace(trial, noise_db=0.0)) is None
    assert flagged(case.samples, reference=case.samples) is None


def test_a_long_text_is_searched_in_pieces_and_words_keep_their_numbers():
    # 60 words: searched whole, hypotheses times frames times phones would fill the memory.
    case, _ = text_tape(" ".join([TEXT] * 12))
    trial = Trial(id="t", text=" ".join([TEXT] * 12))
    said = alter(case, 53, "skip", fade_samples=0)
    assert case.words[53] == case.words[3]
    judged = Robustness(TapeAligner, "tape").judge(Sample(trial=trial, output=said))
    assert judged.values["skips"] == (1, 1)
    (note,) = judged.notes["slips"]
    assert (note["word"], note["label"]) == (53, "away")


def test_the_detector_is_measured_on_the_outputs_themselves():
    case, details = text_tape()
    measure = pickle.loads(pickle.dumps(Robustness(TapeAligner, "tape")))
    TapeAligner.made = 0
    trials = [Trial(id=f"t{number}", text=TEXT) for number in range(8)]
    judged = [
        measure.judge(Sample(trial=trial, output=case.samples, details=details)) for trial in trials
    ]
    assert TapeAligner.made == 1
    assert sum(one.values["detector_hits"][0] for one in judged) == 8
    assert not any(one.values["slipped"][0] for one in judged)
    again = measure.judge(Sample(trial=trials[3], output=case.samples, details=details))
    assert again == judged[3]
    assert measure.judge(Sample(trial=Trial(id="t"), output=case.samples)).values == {}


def test_a_real_aligner_judges_espeak_phones_of_noise_and_of_too_little_sound():
    from parlando.aligner.config import tiny
    from parlando.aligner.model import Aligner

    measure = Robustness(lambda: Aligner(tiny()).eval(), "tiny")
    noise = 0.1 * np.random.default_rng(0).standard_normal(32_000).astype(np.float32)
    for output in (noise, noise[:900]):
        values = measure.judge(Sample(trial=Trial(id="t", text=TEXT), output=output)).values
        assert 0 <= values["skips"][0] <= 5
