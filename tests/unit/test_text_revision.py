"""What stays and what changes between two texts, and excerpts around changes."""

import pytest

from parlando.contracts import Revision, TextError
from parlando.text.phonemes import phonemize
from parlando.text.revision import changed_runs, excerpts, last_kept, revise
from parlando.text.vocabulary import is_pause, with_boundaries

OLD = "the cat, and the dog, sat on a mat."


def said(text):
    return with_boundaries(phonemize(text))


def revised(new, old=OLD, pause=12, phone=6, margin=0):
    """Boundaries between words last no frame, all other pauses ``pause``, phones ``phone``."""
    symbols = said(old)
    last = len(symbols) - 1
    frames = [
        (pause if at in (0, last) or s != " " else 0) if is_pause(s) else phone
        for at, s in enumerate(symbols)
    ]
    return revise(symbols, frames, said(new), margin)


def told(revision):
    """Spell the new symbols, changes in brackets."""
    text = list(revision.new_symbols)
    for start, stop in reversed(changed_runs(revision)):
        text[start:stop] = ["[", *text[start:stop], "]"]
    return "".join(text)


CASES = {
    "the cow, and the dog, sat on a mat.": " ðə [kˈaʊ],ænd ðə dˈɑːɡ,sˈæt ˌɔn ɐ mˈæt.",
    "the cat, and the big dog, sat on a mat.": " ðə kˈæt,ænd ðə[ bˈɪɡ] dˈɑːɡ,sˈæt ˌɔn ɐ mˈæt.",
    "the cat, sat on a mat.": " ðə kˈæt,[]sˈæt ˌɔn ɐ mˈæt.",
    "the cat, and the dog, sat.": " ðə kˈæt,ænd ðə dˈɑːɡ,sˈæt[].",
    "the cat, and the dog, sat on a mat, on it.": " ðə kˈæt,ænd ðə dˈɑːɡ,sˈæt ˌɔn ɐ mˈæt[,ˈɔn ɪt].",
    "cat, and the dog, sat on a mat.": " []kˈæt,ænd ðə dˈɑːɡ,sˈæt ˌɔn ɐ mˈæt.",
    "the cat and the dog, sat on a mat.": " ðə kˈæt[ ]ænd ðə dˈɑːɡ,sˈæt ˌɔn ɐ mˈæt.",
    "the cat, and the dog, sat on a mat. so": " ðə kˈæt,ænd ðə dˈɑːɡ,sˈæt ˌɔn ɐ mˈæt[.sˈoʊ].",
}


@pytest.mark.parametrize("new", CASES)
def test_words_stay_with_the_pauses_beside_them(new):
    revision = revised(new)
    assert told(revision) == CASES[new]
    for symbol, source, frames in zip(
        revision.new_symbols, revision.sources, revision.new_durations_frames, strict=True
    ):
        if source is None:
            assert frames is None
        else:
            assert symbol == revision.symbols[source]
            assert frames == revision.durations_frames[source]
    sources = [source for source in revision.sources if source is not None]
    assert sources == sorted(set(sources))


def test_another_stress_is_no_other_word():
    revision = revised("we went on a bit", old="we went on")
    assert told(revision) == " wiː wɛnt ˈɔn[ ɐ bˈɪt] "


def test_marks_at_the_end_are_not_missed():
    assert told(revised("the cow, and the dog, sat on a mat")).endswith("mˈæt.")
    assert told(revised("the cow sat.", old="the cat sat")).endswith("sˈæt ")


def test_a_margin_is_made_anew_as_long_as_it_was():
    revision = revised("the cow, and the dog, sat on a mat.", margin=1)
    # Not beyond the comma, which lasts long.
    assert told(revision) == " ð[ə kˈaʊ],ænd ðə dˈɑːɡ,sˈæt ˌɔn ɐ mˈæt."
    assert revision.new_durations_frames[2:6] == (6, 0, None, None)
    short = revised("the cow, and the dog, sat on a mat.", margin=1, pause=3)
    assert told(short) == " ð[ə kˈaʊ,æ]nd ðə dˈɑːɡ,sˈæt ˌɔn ɐ mˈæt."
    wide = revised("the cow, and the dog, sat on a mat.", margin=2)
    assert told(wide) == " [ðə kˈaʊ],ænd ðə dˈɑːɡ,sˈæt ˌɔn ɐ mˈæt."


def test_what_was_beside_a_pause_and_still_is_needs_no_margin():
    old = "the cat, and the dog, sat."
    # A comma stays, the other goes with what is left out, and the words beside it do not notice.
    out = revised("the cat, sat.", old=old, margin=1)
    assert told(out) == " ðə kˈæt,[]sˈæt."
    assert told(revised("the cat, sat.", old=old, margin=1, pause=3)) == " ðə kˈæ[t,s]ˈæt."
    # One mark takes the place of another.
    new = revised("the cat; and a dog, sat.", old=old, margin=1)
    assert told(new) == " ðə kˈæt[;]æn[d ɐ d]ˈɑːɡ,sˈæt."


def test_what_is_too_short_to_stay_between_changes_is_made_anew():
    new = "the cat, and the dog, lay on his mat."
    assert told(revised(new)).count("[") == 2
    joined = revised(new, phone=1)
    assert told(joined) == " ðə kˈæt,ænd ðə dˈɑːɡ,[lˈeɪ ˌɔn hɪz] mˈæt."
    # It keeps its length.
    place = joined.new_symbols.index("ˌɔ")
    assert joined.new_durations_frames[place : place + 2] == (1, 1)


@pytest.mark.parametrize(
    ("new", "message"),
    [(OLD, "says what the transcript says"), ("nothing left", "shares no word")],
)
def test_what_cannot_be_edited_is_told(new, message):
    with pytest.raises(TextError, match=message):
        revised(new)


def test_an_excerpt_is_a_revision_of_its_part():
    revision = revised("the cow, and the dog, lay on a mat.")
    whole = sum(revision.durations_frames)
    (both,) = excerpts(revision, 10 * whole)
    assert both.revision == revision
    assert (both.first_frame, both.first_symbol) == (0, 0)
    assert both.runs == tuple(changed_runs(revision))
    cuts = excerpts(revision, 60)
    assert [cut.runs for cut in cuts] == [(run,) for run in changed_runs(revision)]
    for cut in cuts:
        part = cut.revision
        kept = [
            (part.new_symbols[place], part.symbols[source], frames, part.durations_frames[source])
            for place, (source, frames) in enumerate(
                zip(part.sources, part.new_durations_frames, strict=True)
            )
            if source is not None
        ]
        assert all(new == old and now == then for new, old, now, then in kept)
        assert sum(now for _, _, now, _ in kept) == 60
        stop = cut.first_symbol + len(part.new_symbols)
        assert part.new_symbols == revision.new_symbols[cut.first_symbol : stop]
        assert cut.first_frame + sum(part.durations_frames) <= whole
    # The first begins with the recording; its other side takes the room that is left over.
    assert cuts[0].first_frame == 0
    assert cuts[0].first_symbol == 0


def test_an_excerpt_cuts_long_pauses_and_no_phone():
    revision = revised("the cow, and the dog, sat on a mat.", pause=100)
    (cut,) = excerpts(revision, 40)
    # Words before it last 12 frames; 28 are left for the pause after it, none for a phone.
    assert cut.first_frame == 92
    assert cut.revision.new_durations_frames == (8, 6, 6, 0, None, None, 20)
    assert cut.revision.durations_frames[0] == 8
    assert cut.revision.durations_frames[-1] == 20
    (bare,) = excerpts(revision, 0)
    assert bare.revision.new_symbols == (" ", "k", "ˈaʊ")
    assert bare.revision.symbols == (" ", "k", "ˈæ", "t")
    assert bare.first_frame == 112
    assert last_kept(revision.sources, 0) == -1


def test_what_is_only_left_out_has_an_empty_run():
    (cut,) = excerpts(revised("the cat, sat on a mat."), 60)
    ((start, stop),) = cut.runs
    assert start == stop
    assert isinstance(cut.revision, Revision)
    assert len(cut.revision.symbols) > len(cut.revision.new_symbols)
