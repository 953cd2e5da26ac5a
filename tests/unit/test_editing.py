"""Recordings that say other words in places: what stays stays bit for bit; and the command."""

import dataclasses

import numpy as np
import pytest
import soundfile
import torch
from speechlike import padded, speechlike

from parlando import registry
from parlando.audio.waveform import active_level_db
from parlando.cli.main import main
from parlando.contracts import AudioError, ConfigError, TextError, Utterance
from parlando.converting import sound_of
from parlando.editing import SpeechEditor
from parlando.safety import provenance
from parlando.text.normalize import normalize
from parlando.text.phonemes import phonemize
from parlando.text.vocabulary import base_phone, is_phone

OLD = "Seven ships sail away, slowly and far from the shore."
NEW = "Seven boats sail away, slowly and far from the shore."
RATE, HOP = 16_000, 200


class Reader:
    """Takes all symbols to be equally long, and hears the old text, or ``heard``, everywhere."""

    def __init__(self, heard=OLD):
        self.phones = [base_phone(s) for s in phonemize(normalize(heard)) if is_phone(s)]

    def align(self, waveform, symbols):
        edges = np.linspace(0, len(waveform) // HOP, len(symbols) + 1).round().astype(int)
        return np.diff(edges).tolist(), -1.0

    def recognize(self, waveform):
        return self.phones


class Humming:
    """Says what stays as it was, 1 part in 100 softer, and hums a random tone for the rest."""

    name, rate_hz, hop_samples, context_frames = "humming", RATE, HOP, 80
    option_names = frozenset({"steps", "guidance"})

    def __init__(self, frames=9):
        self.frames, self.heard, self.options = frames, [], []

    def edit(self, waveform, revision, options, generator):
        self.heard.append(waveform.numpy())
        self.options.append(options)
        hertz = 100.0 + 100.0 * float(torch.rand((), generator=generator))
        edges = np.cumsum([0, *revision.durations_frames]) * HOP
        assert edges[-1] == len(waveform)
        durations = [n if n is not None else self.frames for n in revision.new_durations_frames]
        sounds = []
        for source, frames in zip(revision.sources, durations, strict=True):
            time = np.arange(frames * HOP) / RATE
            tone = 0.1 * np.sin(2 * np.pi * hertz * time)
            own = None if source is None else 0.99 * self.heard[-1][edges[source] :][: len(tone)]
            sounds.append(tone if own is None else own)
        samples = np.concatenate(sounds).astype(np.float32)
        pitch = np.zeros(len(samples) // HOP, np.float32)
        return Utterance(
            samples=samples,
            symbols=revision.new_symbols,
            durations_frames=tuple(durations),
            f0_hz=pitch,
        )


@pytest.fixture
def editor():
    return SpeechEditor(Humming(), Reader())


def recording(rate_hz=RATE, before=0.3):
    """Four seconds of 16 bits."""
    sound = padded(speechlike(3.4, rate_hz), before, 0.3, rate_hz)
    return (np.rint(0.8 * sound * 32768.0) / 32768.0).astype(np.float32)


def stays(made, source):
    """Tell how many samples outside the spans are a run of the source, in order; all must be."""
    at, count = 0, 0
    edges = [0, *(edge for span in made.spans for edge in span), len(made.samples)]
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        run = made.samples[start:stop]
        if stop == len(made.samples):
            at = len(source) - len(run)
        elif start:
            found = [
                place
                for place in range(at, len(source) - len(run) + 1)
                if source[place] == run[0] and np.array_equal(source[place:][: len(run)], run)
            ]
            at = found[0]
        assert np.array_equal(source[at : at + len(run)], run)
        at += len(run)
        count += len(run)
    return count


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 22_050, 44_100])
@pytest.mark.parametrize(
    "text",
    [
        NEW,
        "Seven old ships sail away, slowly and near from the shore.",
        "Ships sail away, slowly and far from the shore.",
        "Seven ships sail away, slowly.",
        "Seven ships sail away, slowly and far from the shore. Good night.",
    ],
)
def test_all_but_the_spans_is_the_recording_bit_for_bit(editor, rate_hz, text):
    source = recording(rate_hz)
    made = editor.edit((source, rate_hz), OLD, text, seed=1)
    assert made.rate_hz == rate_hz
    assert made.samples.dtype == np.float32
    anew = sum(stop - start for start, stop in made.spans)
    assert stays(made, source) + anew == len(made.samples)
    assert 0 < anew < 1.5 * rate_hz
    assert made.spans == tuple(sorted(made.spans))


def test_a_wav_of_sixteen_bits_comes_back_in_the_very_same_samples(editor, tmp_path):
    source, out = tmp_path / "in.wav", tmp_path / "out.wav"
    integers = (recording(44_100) * 32768).astype(np.int16)
    integers[5_000:5_003] = 32767, -32768, 12345
    soundfile.write(source, integers, 44_100, subtype="PCM_16")
    made = editor.edit(source, OLD, NEW, seed=1)
    made.save(out)
    written, rate_hz = soundfile.read(out, dtype="int16")
    assert rate_hz == 44_100
    ((start, stop),) = made.spans
    assert np.array_equal(written[:start], integers[:start])
    assert np.array_equal(written[stop:], integers[len(integers) - len(written) + stop :])
    assert start > 5_003
    marked = provenance.read(out)
    assert (marked.nature, marked.system, marked.seed) == ("parts of a recording", "humming", 1)


def test_the_new_part_is_as_long_as_it_was_made_and_as_loud_as_the_recording():
    """Whatever the level and the offset of the recording: models hear neither."""
    quiet, loud = 0.1 * recording(), 0.9 * recording() + np.float32(0.05)
    results = []
    for source in (quiet, loud):
        editor = SpeechEditor(Humming(), Reader())
        made = editor.edit((source, RATE), OLD, NEW, seed=1)
        ((start, stop),) = made.spans
        results.append((editor.editor.heard[0], made.samples[start + 300 : stop - 300]))
        longer = SpeechEditor(Humming(frames=12), Reader()).edit((source, RATE), OLD, NEW, seed=1)
        assert len(longer.samples) - len(made.samples) == 4 * 3 * HOP
        assert len(made.samples) - stop == len(longer.samples) - longer.spans[0][1]
    assert np.abs(results[0][0] - results[1][0]).max() < 1e-3
    parts = [part - part.mean() for _, part in results]
    assert np.abs(parts[1]).max() == pytest.approx(9.0 * np.abs(parts[0]).max(), rel=0.02)
    assert results[1][1].mean() == pytest.approx(0.05, abs=0.005)
    assert active_level_db(results[0][0], RATE) == pytest.approx(-23.0, abs=3.0)


def test_a_seed_means_the_same_again_and_another_something_else(editor):
    source = (recording(), RATE)
    first, again, other = (editor.edit(source, OLD, NEW, seed=n) for n in (3, 3, 4))
    assert np.array_equal(first.samples, again.samples)
    assert not np.array_equal(first.samples, other.samples)
    assert first.spans == other.spans
    drawn = editor.edit(source, OLD, NEW)
    assert np.array_equal(drawn.samples, editor.edit(source, OLD, NEW, seed=drawn.seed).samples)


def test_changes_that_are_far_apart_are_made_by_themselves(editor):
    steps = []
    made = editor.edit(
        (recording(), RATE),
        OLD,
        "Nine ships sail away, slowly and far from the coast.",
        seed=0,
        steps=2,
        progress=lambda done, total: steps.append((done, total)),
    )
    assert len(editor.editor.heard) == len(made.spans) == 2
    assert steps == [(1, 2), (2, 2)]
    assert all(options.steps == 2 for options in editor.editor.options)
    # What stays is at most the context, beside a word of some frames.
    assert all(len(heard) <= (80 + 60) * HOP for heard in editor.editor.heard)
    assert made.text == "Nine ships sail away, slowly and far from the coast."
    assert made.duration_seconds == len(made.samples) / RATE
    assert made.spans_seconds[0][0] == made.spans[0][0] / RATE


def test_what_is_left_out_between_pauses_needs_no_model(editor):
    """A clause of its own, between long pauses."""
    old = "Seven ships, slowly, sail away, and far from the shore."

    class Pausing(Reader):
        def align(self, waveform, symbols):
            frames = len(waveform) // HOP
            durations = [20 if s in (",", ".") else 0 if s == " " else 6 for s in symbols]
            return [frames - sum(durations) + durations[0], *durations[1:]], -1.0

    editor = SpeechEditor(Humming(), Pausing(old))
    source = recording()
    made = editor.edit((source, RATE), old, old.replace(" slowly,", ""), seed=0)
    assert not editor.editor.heard
    ((start, stop),) = made.spans
    assert stop - start == 160
    assert stays(made, source) == len(made.samples) - 160
    assert len(source) - len(made.samples) == (20 + 5 * 6) * HOP


def test_a_right_transcript_may_have_a_phone_that_is_drawn_out():
    class Drawling(Reader):
        def align(self, waveform, symbols):
            first = next(i for i, s in enumerate(symbols) if is_phone(s))
            durations = [
                60 if i == first else 5 if is_phone(s) else 0 for i, s in enumerate(symbols)
            ]
            return [len(waveform) // HOP - sum(durations), *durations[1:]], -1.0

    editor, source = SpeechEditor(Humming(), Drawling()), recording()
    made = editor.edit((source, RATE), OLD, NEW, seed=0)
    assert stays(made, source) > 0


def test_an_offline_run_of_long_new_text_is_refused(editor):
    with pytest.raises(TextError, match="at most 200"):
        editor.edit((recording(), RATE), OLD, OLD.replace("away", "away " * 80), seed=0)


@pytest.mark.parametrize(
    ("texts", "error", "told"),
    [
        (("", NEW), TextError, "the transcript is empty"),
        ((OLD, " \n"), TextError, "the new text is empty"),
        ((OLD, "?!"), TextError, "the new text: nothing to speak"),
        ((OLD, OLD.upper()), TextError, "says what the transcript says"),
        ((OLD, "Good morning"), TextError, "shares no word"),
        ((OLD, NEW, {"speed": 2.0}), ConfigError, "no option speed; it has guidance, steps"),
        ((OLD, NEW, {"seed": -1}), ConfigError, "seed -1"),
        (("Good morning to you all. " * 3, NEW), TextError, "% of the phones are others"),
        (("Good morning.", NEW), TextError, r"\(implausible rate\); give the words"),
        ((OLD * 12, NEW), TextError, "phone without a frame"),
    ],
)
def test_texts_and_options_that_do_not_fit_are_told(editor, texts, error, told):
    *words, options = texts if len(texts) == 3 else (*texts, {})
    with pytest.raises(error, match=told):
        editor.edit((recording(), RATE), *words, **options)
    assert not editor.editor.heard


@pytest.mark.parametrize(
    ("samples", "told"),
    [
        (np.zeros(3 * RATE, np.float32), "is silent"),
        (padded(speechlike(0.5), 0.3, 0.3), r"holds 0\.\d s of speech"),
        (np.tile(speechlike(4.0), 31), "lasts 124 s, at most 120 s"),
        (np.full(RATE, np.nan, np.float32), "NaN"),
        (np.zeros((2, RATE), np.float32), "shape"),
    ],
)
def test_recordings_that_cannot_be_edited_are_told(editor, samples, told):
    with pytest.raises(AudioError, match=told):
        editor.edit((samples, RATE), OLD, NEW)


@pytest.fixture
def command(editor, tmp_path, monkeypatch):
    """Run the command with the humming editor, on texts in files and in arguments."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "load_editor", lambda place, device: editor)
    soundfile.write("in.wav", recording(), RATE, subtype="PCM_16")
    (tmp_path / "old.txt").write_text(OLD, encoding="utf-8")
    (tmp_path / "new.txt").write_text(NEW, encoding="utf-8")

    def run(*words):
        return main(["edit", "in.wav", *words])

    return run


def test_the_command_writes_a_marked_file_and_one_line(command, editor, tmp_path, capsys):
    assert command("--transcript", "old.txt", "--text", NEW, "-o", "out.wav", "--seed", "5") == 0
    made = editor.edit("in.wav", OLD, NEW, seed=5)
    ((start, stop),) = made.spans_seconds
    printed = capsys.readouterr().out
    assert printed.startswith(
        f"out.wav: {made.duration_seconds:.2f} s, made anew {start:.2f}-{stop:.2f} s, real-time "
    )
    assert printed.endswith(", seed 5\n")
    assert printed.count("\n") == 1
    assert np.array_equal(
        sound_of("out.wav", None).samples[: made.spans[0][0]], made.samples[: made.spans[0][0]]
    )
    assert provenance.read("out.wav") == dataclasses.replace(made.provenance)
    first = (tmp_path / "out.wav").read_bytes()
    texts = ["--transcript-file", "old.txt", "--text-file", "new.txt"]
    assert command(*texts, "-o", "out.wav", "--seed", "5", "--steps", "2") == 0
    assert (tmp_path / "out.wav").read_bytes() == first
    assert editor.editor.options[-1].steps == 2
    named = ["--option", "guidance=1.5", "--option", "steps=3"]
    assert command(*texts, "-o", "out.wav", "--seed", "5", *named) == 0
    seen = editor.editor.options[-1]
    assert (seen.steps, seen.guidance) == (3, 1.5)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--text", NEW], "got no text; give one: --transcript or --transcript-file"),
        (["--transcript", OLD], "got no text; give one: --text or --text-file"),
        (["--transcript", OLD, "--text", NEW, "--text-file", "new.txt"], "got two texts"),
        (["--transcript", "none.txt", "--text", NEW], "none.txt: cannot be read"),
        (["--transcript", OLD, "--text", OLD], "says what the transcript says"),
        (["--transcript", OLD, "--text", " "], "the new text is empty"),
        (["--transcript", OLD, "--text", NEW, "-o", "out.doc"], "unknown sound format"),
        (["--transcript", OLD, "--text", NEW, "--steps", "0"], "steps 0; expected 1"),
        (["--transcript", OLD, "--text", NEW, "--option", "speed=2"], "has no option speed"),
        (["--transcript", OLD, "--text", NEW, "--option", "guidance"], "expected NAME=VALUE"),
        (
            ["--transcript", OLD, "--text", NEW, "--option", "steps=2", "--steps", "3"],
            "got steps by its own flag and by --option",
        ),
    ],
)
def test_the_command_tells_what_is_wrong_in_one_line(command, words, told, tmp_path, capsys):
    assert command(*words) == 2
    error = capsys.readouterr().err
    assert error.startswith("parlando: ")
    assert error.count("\n") == 1
    assert told in error
    assert not list(tmp_path.glob("edited*")) + list(tmp_path.glob("out*"))


@pytest.mark.parametrize(
    ("system", "told"),
    [
        ("naturalspeech2-small", "naturalspeech2-small cannot edit, for it is of naturalspeech2"),
        ("valle2-small", "valle2-small cannot edit, for it is of valle2"),
        ("valle2-small-group1", "valle2-small-group1 has no released weights yet"),
        ("naturalspeech4", "naturalspeech4"),
    ],
)
def test_systems_that_cannot_edit_are_told(system, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    soundfile.write("in.wav", recording(), RATE)
    words = ["edit", "in.wav", "--transcript", OLD, "--text", NEW, "--system", system]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
