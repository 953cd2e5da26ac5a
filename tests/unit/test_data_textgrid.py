"""TextGrid files: nothing is lost or added, and a bad file is one clear line."""

from itertools import pairwise

import numpy as np
import pytest

from parlando.contracts import ConfigError
from parlando.data.textgrid import (
    PHONES,
    WORDS,
    Interval,
    durations_of,
    read_textgrid,
    write_textgrid,
)
from parlando.text.phonemes import phonemize
from parlando.text.vocabulary import is_pause

FRAME = 0.0125
MFA = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 1.01
tiers? <exists>
size = 2
item []:
    item [1]:
        class = "IntervalTier"
        name = "words"
        xmin = 0
        xmax = 1.01
        intervals: size = 3
        intervals [1]:
            xmin = 0.0
            xmax = 0.13
            text = ""
        intervals [2]:
            xmin = 0.13
            xmax = 0.9
            text = "hi"
        intervals [3]:
            xmin = 0.9
            xmax = 1.01
            text = ""
    item [2]:
        class = "IntervalTier"
        name = "phones"
        xmin = 0
        xmax = 1.01
        intervals: size = 4
        intervals [1]:
            xmin = 0.0
            xmax = 0.13
            text = ""
        intervals [2]:
            xmin = 0.13
            xmax = 0.31
            text = "h"
        intervals [3]:
            xmin = 0.31
            xmax = 0.9
            text = "aɪ"
        intervals [4]:
            xmin = 0.9
            xmax = 1.01
            text = "sil"
"""
SHORT = '''File type = "ooTextFile"
"TextGrid"

0
1.0
<exists>
2
"IntervalTier"
"words"
0
1.0
1
0
1.0
"say ""hi"""
"TextTier"
"clicks"
0
1.0
1
0.5
"click"
! "a comment"
'''


@pytest.fixture
def write(tmp_path):
    def write(content: str | bytes) -> str:
        path = tmp_path / "given.TextGrid"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("frame_seconds", [FRAME, 256 / 22050, 0.01])
def test_what_is_written_comes_back_to_the_frame(tmp_path, seed, frame_seconds):
    rng = np.random.default_rng(seed)
    symbols = [" ", *phonemize("Of the red box, said he: no!")]
    durations = [int(rng.integers(0 if is_pause(s) else 1, 40)) for s in symbols]
    path = tmp_path / "a.TextGrid"
    write_textgrid(path, symbols, durations, frame_seconds)
    tiers = read_textgrid(path)
    assert list(tiers) == [WORDS, PHONES]
    total = sum(durations)
    assert durations_of(tiers[PHONES], total, frame_seconds, symbols) == durations
    for tier in tiers.values():
        assert sum(durations_of(tier, total, frame_seconds)) == total
        assert tier[-1].end_seconds == pytest.approx(total * frame_seconds, rel=1e-9)
    spoken = [one.label for one in tiers[WORDS] if one.label]
    assert "".join(spoken) == "".join(s for s in symbols if not is_pause(s))
    assert [path.name for path in tmp_path.iterdir()] == ["a.TextGrid"]


@pytest.mark.parametrize("seed", range(20))
def test_any_boundaries_sum_to_the_frames(seed):
    rng = np.random.default_rng(seed)
    edges = [0.0, *np.sort(rng.uniform(0.0, 3.0, 40)), 3.0 + rng.uniform(-FRAME, FRAME)]
    edges = np.sort(edges)
    tier = [Interval(a, b, "x") for a, b in pairwise(edges)]
    durations = durations_of(tier, 240, FRAME)
    assert sum(durations) == 240
    assert min(durations) >= 0
    assert np.abs(np.cumsum(durations) * FRAME - edges[1:]).max() <= FRAME + 1e-9


def test_words_keep_their_spelling_and_quotes(tmp_path):
    path = tmp_path / "a.TextGrid"
    write_textgrid(path, [" ", "h", "aɪ", " ", "h", "aɪ"], [2, 1, 3, 0, 4, 5], FRAME, [
        ('"hi"', 1, 3), ("high", 4, 6)
    ])  # fmt: skip
    words = read_textgrid(path)[WORDS]
    assert [one.label for one in words] == ["", '"hi"', "high"]
    assert durations_of(words, 15, FRAME) == [2, 4, 9]


def test_files_of_the_montreal_forced_aligner_are_read(write):
    tiers = read_textgrid(write(MFA))
    assert [one.label for one in tiers[WORDS]] == ["", "hi", ""]
    # 1.01 s are 80.8 frames; 0.13, 0.31 and 0.9 s fall on 10.4, 24.8 and 72.
    assert durations_of(tiers[PHONES], 80, FRAME) == [10, 15, 47, 8]
    assert durations_of(tiers[PHONES], 80, FRAME, [" ", "h", "ˈaɪ", "."]) == [10, 15, 47, 8]


def test_short_format_quotes_comments_and_point_tiers(write):
    tiers = read_textgrid(write(SHORT))
    assert tiers == {"words": (Interval(0.0, 1.0, 'say "hi"'),)}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_encodings_of_praat(write, encoding):
    assert read_textgrid(write(MFA.encode(encoding))) == read_textgrid(write(MFA))


MALFORMED = {
    "empty": ("", "ends too early"),
    "another object": ('File type = "ooTextFile"\n"Pitch"\n0 1', "not a TextGrid"),
    "latin": (b'"ooTextFile" "TextGrid" 0 1 <exists> 1 "caf\xe9"', "neither UTF-8 nor UTF-16"),
    "cut short": (MFA[:900], "ends too early"),
    "a text for a number": (MFA.replace("xmax = 0.13", 'xmax = "x"', 1), "a number"),
    "a number for a text": (MFA.replace('"hi"', "7"), "a text"),
    "infinite": (MFA.replace("xmax = 0.31", "xmax = 1e999"), "a number"),
    "two points": (MFA.replace("xmax = 0.31", "xmax = 1.2.3"), "a number"),
    "half a tier": (MFA.replace("size = 2", "size = 2.5"), "a count"),
    "negative count": (MFA.replace("size = 4", "size = -4"), "a count"),
    "no flag": (MFA.replace("<exists>", "1"), "<exists>"),
    "unknown tier": (MFA.replace("IntervalTier", "Tier", 1), "a tier of kind 'Tier'"),
    "two of one name": (MFA.replace('"phones"', '"words"'), "a second tier 'words'"),
    "gap": (MFA.replace("xmin = 0.31", "xmin = 0.35"), "no gaps"),
    "backwards": (MFA.replace("0.31", "0.05"), "no gaps"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_files_are_one_line(write, case):
    content, message = MALFORMED[case]
    path = write(content)
    with pytest.raises(ConfigError) as caught:
        read_textgrid(path)
    assert str(caught.value).startswith(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_textgrid(tmp_path / "none.TextGrid")


def test_every_truncation_is_noticed_or_harmless(write):
    """Only what is cut off after the last label leaves the file whole."""
    whole = read_textgrid(write(MFA))
    for length in range(0, len(MFA) - 1, 17):
        with pytest.raises(ConfigError):
            read_textgrid(write(MFA[:length]))
    assert read_textgrid(write(MFA.rstrip())) == whole


@pytest.mark.parametrize(
    ("symbols", "message"),
    [
        ([" ", "h", "iː", "."], "expected 'iː'"),
        ([" ", "h", "."], "expected 'the end'"),
        ([" ", "h", "aɪ", "d"], "no pause"),
        ([" ", "h", "aɪ", ".", "d"], "ends before 'd'"),
        (["h", "aɪ", "."], "no pause"),
    ],
)
def test_another_text_is_refused(write, symbols, message):
    with pytest.raises(ConfigError, match=message):
        durations_of(read_textgrid(write(MFA))[PHONES], 80, FRAME, symbols)


@pytest.mark.parametrize("n_frames", [0, 78, 90])
def test_another_sound_is_refused(write, n_frames):
    with pytest.raises(ConfigError, match="alignment of this sound"):
        durations_of(read_textgrid(write(MFA))[PHONES], n_frames, FRAME)


@pytest.mark.parametrize(
    ("symbols", "durations"), [(["h"], [1, 2]), (["h"], [-1]), ([], []), (["h"], [0])]
)
def test_impossible_alignments_are_not_written(tmp_path, symbols, durations):
    with pytest.raises(ConfigError):
        write_textgrid(tmp_path / "a.TextGrid", symbols, durations, FRAME)
    assert not list(tmp_path.iterdir())


def test_unwritable_targets_are_one_line(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere" / "a.TextGrid"):
        with pytest.raises(ConfigError, match="choose another"):
            write_textgrid(path, ["h"], [1], FRAME)
