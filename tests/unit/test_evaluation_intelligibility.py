import numpy as np
import pytest

from parlando.contracts import TextError
from parlando.evaluation.intelligibility import (
    PocketsphinxRecognizer,
    allowed_error,
    corpus_error,
    phone_errors,
    scoring_words,
    shuffled,
    word_errors,
)
from parlando.evaluation.intervals import mean_interval, ratio_interval

TEN = "one two three four five six seven eight nine ten"


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


def test_corpus_error_weighs_by_words_and_covers_the_truth():
    short = word_errors("one", "two")
    long = word_errors(TEN, TEN)
    figure = corpus_error([short, *[long] * 9])
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
        mean_interval([])
    assert mean_interval([3.0, 3.0]).low == mean_interval([3.0, 3.0]).high == 3.0


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


def test_allowed_error_lies_between_human_and_chance():
    assert allowed_error(0.1, 0.9) == pytest.approx(0.42)
    assert allowed_error(0.1, 0.9, share=0.0) == 0.1


def babble(seed):
    """Two seconds of noise bursts that swell like syllables."""
    generator = np.random.default_rng(seed)
    time = np.arange(32000) / 16000
    swell = np.sin(2 * np.pi * 3 * time) ** 2
    tone = sum(np.sin(2 * np.pi * 120 * k * time) / k for k in range(1, 20))
    return (swell * (0.1 * tone + 0.02 * generator.standard_normal(32000))).astype(np.float32)


def test_pocketsphinx_does_not_depend_on_what_it_heard_before():
    recognizer = PocketsphinxRecognizer()
    quiet, loud = 0.1 * babble(0), babble(1)
    alone = recognizer.transcribe(quiet, 16_000)
    recognizer.transcribe(loud, 16_000)
    assert recognizer.transcribe(quiet, 16_000) == alone
    assert recognizer.transcribe(quiet[:0], 16_000) == ""
