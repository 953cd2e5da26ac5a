"""Texts of any length through a synthesizer that is only sines: what holds for every system."""

import base64
import dataclasses
import gc
import itertools
import re
import weakref

import numpy as np
import pytest
from sines import HOP, RATE, SineSynthesizer, babble

from parlando.audio.waveform import active_level_db, load, read_metadata, save
from parlando.contracts import ConfigError, PromptError, TextError
from parlando.safety import provenance
from parlando.speaking import FIRST_MAX_CHARACTERS, Speaker
from parlando.speech import Speech, Voice
from parlando.text.vocabulary import is_pause

TEXT = (
    "The 1st sentence is here, and it goes on for a while. A second one follows it at once! Does "
    "a third one ask something, or does it not? Then, after a long breath, the fourth and last "
    "sentence ends it all."
)


@pytest.fixture(scope="module")
def voice():
    return Voice.from_samples(babble(4.0), RATE)


@pytest.fixture
def speaker():
    return Speaker(SineSynthesizer())


def test_speak_is_what_stream_yields_joined(speaker, voice):
    parts = list(speaker.stream(TEXT, voice, seed=5))
    whole = speaker.speak(TEXT, voice, seed=5)
    assert len(parts) >= 4
    assert np.array_equal(np.concatenate([part.samples for part in parts]), whole.samples)
    assert sum((part.durations_frames for part in parts), ()) == whole.durations_frames
    assert " ".join(part.text for part in parts) == whole.text


def test_only_a_text_of_several_pieces_has_a_short_first_one(speaker, voice):
    sentence = "A sentence of eighty characters or so, more than the first piece may have."
    alone = list(speaker.stream(sentence, voice, seed=0))
    first = next(speaker.stream(" ".join([sentence] * 4), voice, seed=0))
    assert len(alone) == 1
    assert len(first.text) <= FIRST_MAX_CHARACTERS < len(alone[0].text)


def test_text_is_in_spoken_form(speaker, voice):
    assert speaker.speak("It costs $5.", voice, seed=0).text == "It costs five dollars."


def test_stream_yields_before_the_rest_is_made(speaker, voice):
    stream = speaker.stream(TEXT, voice, seed=1)
    next(stream)
    assert speaker.synthesizer.rendered == 1


def test_durations_pitch_and_samples_agree(speaker, voice):
    speech = speaker.speak(TEXT, voice, seed=1)
    assert sum(speech.durations_frames) * HOP == len(speech.samples)
    assert len(speech.f0_hz) == sum(speech.durations_frames)
    assert len(speech.phonemes) == len(speech.durations)
    assert sum(speech.durations) == pytest.approx(speech.duration_seconds)


def test_same_seed_same_speech_and_another_seed_another(speaker, voice):
    first, again, other = (speaker.speak(TEXT, voice, seed=seed).samples for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first[: len(other)], other[: len(first)])


def test_drawn_seed_is_reported_and_repeats(speaker, voice):
    speech = speaker.speak("Hello there.", voice)
    again = speaker.speak("Hello there.", voice, seed=speech.seed)
    assert np.array_equal(speech.samples, again.samples)


def test_level_step_at_seams_is_at_most_one_decibel(voice):
    speaker = Speaker(SineSynthesizer(gains=(0.05, 0.6, 0.2, 0.9, 0.02)))
    parts = list(speaker.stream(TEXT, voice, seed=2))
    levels = [active_level_db(part.samples, RATE) for part in parts]
    assert len(levels) >= 4
    assert np.abs(np.diff(levels)).max() <= 1.0


def test_seams_do_not_click(voice):
    # A sine of 220 Hz at the level of speech moves by 0.02 a sample; cut off anywhere it jumps 0.1.
    speaker = Speaker(SineSynthesizer(cut_at_peak=True))
    parts = list(speaker.stream(TEXT, voice, seed=2))
    for before, after in itertools.pairwise(parts):
        seam = np.concatenate([before.samples[-2 * HOP :], after.samples[: 2 * HOP]])
        assert np.abs(np.diff(seam)).max() < 0.03


def test_peaks_stay_below_full_scale(voice):
    speaker = Speaker(SineSynthesizer(spike=4.0))
    speech = speaker.speak("One sentence with a spike.", voice, seed=0)
    assert np.abs(speech.samples).max() < 1.0


def test_pauses_belong_to_pause_symbols(speaker, voice):
    parts = list(speaker.stream(TEXT, voice, seed=2))
    for part in parts[:-1]:
        assert is_pause(part.phonemes[-1])
        assert part.durations[-1] >= 0.1
        tail = part.samples[-HOP * (part.durations_frames[-1] - 2) :]
        assert np.abs(tail).max() < 0.01


@pytest.mark.parametrize("total", [9.0, 14.0, 25.0])
def test_duration_is_met_to_a_frame_per_text(speaker, voice, total):
    speech = speaker.speak(TEXT, voice, seed=2, duration_seconds=total)
    assert speech.duration_seconds == pytest.approx(total, abs=2 * HOP / RATE)


def test_speed_shortens_pauses_too(speaker, voice):
    slow = speaker.speak(TEXT, voice, seed=2, speed=1.0).duration_seconds
    fast = speaker.speak(TEXT, voice, seed=2, speed=2.0).duration_seconds
    assert fast == pytest.approx(slow / 2, rel=0.05)


def test_progress_counts_pieces(speaker, voice):
    seen = []
    speaker.speak(TEXT, voice, seed=2, progress=lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == list(range(1, seen[0][1] + 1))


def test_prompt_is_encoded_once_per_voice(speaker, voice):
    for _ in range(3):
        speaker.speak("Hello.", voice, seed=0)
    assert speaker.synthesizer.encoded == 1


def test_prompt_file_is_read_again_when_it_changes(speaker, tmp_path):
    path = tmp_path / "prompt.wav"
    for number, seconds in enumerate((3.0, 4.0), start=1):
        save(path, babble(seconds), RATE)
        for _ in range(2):
            speaker.speak("Hello.", path, seed=0)
        assert speaker.synthesizer.encoded == number


def test_very_long_text_streams(speaker, voice):
    stream = speaker.stream("All work and no play makes a dull day. " * 2600, voice, seed=0)
    assert next(stream).duration_seconds > 0.2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps 0; expected 1 to 1000"),
        ({"steps": 2.5}, "expected int"),
        ({"speed": 0.1}, "speed 0.1; expected 0.25 to 4"),
        ({"speed": float("nan")}, "speed nan"),
        ({"solver": "magic"}, "expected one of dpm, euler, sde"),
        ({"seed": -1}, "seed -1"),
        ({"duration_seconds": 0.0}, "duration 0"),
        ({"duration_seconds": 0.1}, "phonemes; expected"),
        ({"duration_seconds": 1e6}, "phonemes; expected"),
        ({"guidence": 1.0}, "did you mean 'guidance'"),
        ({"top_p": 0.5}, "sines has no option top_p; it has duration_seconds, guidance"),
        ({"steps": 4, "voice_text": "Hi."}, "sines has no option voice_text"),
    ],
)
def test_bad_options_are_refused_before_any_work(speaker, voice, options, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        speaker.stream("Hello there.", voice, **options)


@pytest.mark.parametrize("text", ["", "   \n", "?!… —"])
def test_nothing_to_speak_is_refused(speaker, voice, text):
    with pytest.raises(TextError):
        speaker.speak(text, voice)


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros((2, RATE), dtype=np.float32),
        np.zeros(RATE, dtype=np.int16),
        np.zeros(3 * RATE, dtype=np.float32),
        np.full(3 * RATE, np.nan, dtype=np.float32),
        np.zeros(0, dtype=np.float32),
    ],
)
def test_unusable_prompts_are_refused(speaker, samples):
    with pytest.raises(PromptError):
        speaker.speak("Hello.", (samples, RATE))


def test_speaker_without_voice_says_so(speaker):
    with pytest.raises(ConfigError, match="no voice"):
        speaker.speak("Hello.")


def test_join_of_nothing_is_refused():
    with pytest.raises(ConfigError):
        Speech.join([])


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_saved_file_says_that_it_is_synthetic(speaker, voice, tmp_path, suffix):
    speech = speaker.speak("Hello there.", voice, seed=77)
    path = tmp_path / f"out.{suffix}"
    speech.save(path)
    tags = read_metadata(path)
    assert tags["comment"].startswith("Synthetic speech")
    assert tags["title"].lower().startswith("hello there")
    assert provenance.read(path) == speech.provenance
    assert (speech.provenance.system, speech.provenance.seed) == ("sines", 77)
    assert load(path).duration_seconds == pytest.approx(speech.duration_seconds, abs=0.2)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_notebook_shows_a_player_with_the_sound(speaker, voice, tmp_path):
    speech = speaker.speak("Less < more.", voice, seed=1)
    shown = dataclasses.replace(speech, text="less < more")._repr_html_()
    assert "less &lt; more" in shown
    data = re.search(r'src="data:audio/wav;base64,([^"]+)"', shown)[1]
    path = tmp_path / "shown.wav"
    path.write_bytes(base64.b64decode(data))
    assert np.abs(load(path).samples - speech.samples).max() < 1e-4
    assert provenance.read(path) == speech.provenance


def test_plot_is_a_picture(speaker, voice, tmp_path):
    speaker.speak("Hello there.", voice, seed=1).plot(tmp_path / "out.png")
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ConfigError, match="picture format"):
        speaker.speak("Hello there.", voice, seed=1).plot(tmp_path / "out.txt")


@pytest.mark.parametrize("voice", [3, [np.zeros(9), 16_000, 1], {"path": "x"}])
def test_what_is_no_voice_is_refused(voice):
    with pytest.raises(PromptError, match="expected a path"):
        Speaker(SineSynthesizer()).speak("Hello.", voice)


@pytest.mark.parametrize("seed", [-1, 2**63, 1.5, "7"])
def test_what_is_no_seed_is_refused(seed):
    with pytest.raises(ConfigError, match="whole number"):
        Speaker(SineSynthesizer()).speak("Hello.", seed=seed)


def test_joining_keeps_no_sound_twice():
    part = Speaker(SineSynthesizer()).speak("Hello there.", (babble(4.0), RATE), seed=1)
    joined = Speech.join([part, part])
    samples = weakref.ref(part.samples)
    del part
    gc.collect()
    assert samples() is None
    assert len(joined.samples) > RATE
