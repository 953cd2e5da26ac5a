import numpy as np
import pytest

from parlando.contracts import TextError
from parlando.evaluation.robustness import (
    Proof,
    SpokenWords,
    alter,
    channel_scorer,
    ctc_scorer,
    find_slips,
    prove,
    spoken_words,
)
from parlando.text.vocabulary import PHONE_CLASSES, PHONES

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


def plain(cases):
    return [(case.samples, case.words) for case in cases]


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
        return find_slips(words, channel_scorer(heard, error_rate=error_rate))

    proof = prove(detect, cases, plain(cases), minimum_phones=3)
    assert proof.holds(), proof


def test_the_detector_proves_itself_under_unsure_posteriors():
    generator = np.random.default_rng(1)
    cases = [tape(sentence(generator)) for _ in range(50)]

    def detect(samples, words):
        return find_slips(words, ctc_scorer(posteriors(samples, generator), PHONE_CLASSES))

    proof = prove(detect, cases, plain(cases))
    assert proof.holds(), proof


def test_a_blind_or_a_nervous_detector_does_not_pass():
    generator = np.random.default_rng(2)
    cases = [tape(sentence(generator)) for _ in range(10)]
    blind = prove(lambda samples, words: [], cases, plain(cases))
    assert (blind.found, blind.hit_rate, blind.holds()) == (0, 0.0, False)
    assert len(blind.missed) == 10

    def nervous(samples, words):
        return find_slips(words, channel_scorer([]))

    assert prove(nervous, cases, plain(cases)).false_alarm_rate == 1.0
    with pytest.raises(ValueError, match="need both"):
        prove(nervous, cases, [])
    assert Proof(altered=50, found=45, untouched=40, flagged=2).holds()
    assert not Proof(altered=50, found=44, untouched=40, flagged=2).holds()


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
