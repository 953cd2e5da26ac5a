"""What is spoken gets the timbre of its prompt where that is wanted, and where it can."""

import dataclasses

import numpy as np
import pytest
from sines import RATE, SineSynthesizer, babble

from parlando import registry
from parlando.contracts import ConfigError
from parlando.speaking import CHUNK_SECONDS, Speaker
from parlando.speech import Voice
from parlando.training.checkpoint import read_card

TEXT = "One sentence. And another one, which is longer."


class Hissing(SineSynthesizer):
    """Sines in noise, so that there is something at every frequency."""

    attributes = frozenset(["prosody", "timbre"])

    def render(self, symbols, prompt, options, generator):
        made = super().render(symbols, prompt, options, generator)
        noise = np.random.default_rng(0).standard_normal(len(made.samples), dtype=np.float32)
        return dataclasses.replace(made, samples=made.samples + 0.03 * noise)

    def stream(self, symbols, prompt, options, generator):
        yield self.render(symbols, prompt, options, generator)

    def blend(self, prompt, **others):
        return prompt


@pytest.fixture(scope="module")
def dark():
    return _voice(-15.0)


@pytest.fixture(scope="module")
def bright():
    return _voice(15.0)


def _voice(tilt_db):
    sound = babble(4.0)
    sound = sound + 0.02 * np.random.default_rng(1).standard_normal(len(sound))
    spectrum = np.fft.rfft(sound)
    tilted = spectrum * 10 ** (np.linspace(0.0, tilt_db, len(spectrum)) / 20)
    return Voice.from_samples(np.fft.irfft(tilted, len(sound)).astype(np.float32), RATE)


def _brightness_db(speech):
    power = np.abs(np.fft.rfft(speech.samples)) ** 2
    middle = len(power) // 2
    return 10 * np.log10(power[middle:].sum() / power[:middle].sum())


def test_speech_is_as_bright_as_its_prompt_where_that_is_wanted(dark, bright):
    speaker = Speaker(Hissing(), match_timbre=True)
    matched = [speaker.speak(TEXT, voice, seed=1) for voice in (dark, bright)]
    assert _brightness_db(matched[1]) - _brightness_db(matched[0]) > 8.0
    plain = [speaker.speak(TEXT, voice, seed=1, match_timbre=False) for voice in (dark, bright)]
    assert np.array_equal(plain[0].samples, plain[1].samples)
    assert matched[0].durations_frames == plain[0].durations_frames
    assert len(matched[0].samples) == len(plain[0].samples)


def test_a_call_may_ask_for_it_and_without_it_a_speaker_leaves_it(dark):
    speaker = Speaker(Hissing())
    plain, asked = (
        speaker.speak(TEXT, dark, seed=1, **options) for options in ({}, {"match_timbre": True})
    )
    whole = Speaker(Hissing(), match_timbre=True).speak(TEXT, dark, seed=1)
    assert np.array_equal(asked.samples, whole.samples)
    assert _brightness_db(plain) - _brightness_db(asked) > 3.0


def test_it_is_that_of_the_prompt_for_the_timbre(dark, bright):
    speaker = Speaker(Hissing(), match_timbre=True)
    expected = speaker.speak(TEXT, bright, seed=1)
    for given in ({"timbre_from": bright}, {"timbre_from": bright, "prosody_from": dark}):
        made = speaker.speak(TEXT, dark, seed=1, **given)
        assert np.array_equal(made.samples, expected.samples)
    of_voice = speaker.speak(TEXT, dark, seed=1, prosody_from=bright)
    assert np.array_equal(of_voice.samples, speaker.speak(TEXT, dark, seed=1).samples)


def test_pieces_that_are_heard_before_they_are_whole_stay_as_they_are(dark, bright, monkeypatch):
    known = SineSynthesizer.option_names | {"chunk_seconds"}
    monkeypatch.setattr(Hissing, "option_names", known)
    speaker = Speaker(Hissing(), match_timbre=True)
    first, second = (
        speaker.speak(TEXT, voice, seed=1, chunk_seconds=0.5) for voice in (dark, bright)
    )
    assert np.array_equal(first.samples, second.samples)


def test_what_needs_whole_pieces_cannot_be_had_in_chunks(dark, monkeypatch):
    known = SineSynthesizer.option_names | {"chunk_seconds"}
    monkeypatch.setattr(Hissing, "option_names", known)
    speaker = Speaker(Hissing(), match_timbre=True)
    assert speaker.in_chunks({}) == {"chunk_seconds": CHUNK_SECONDS}
    assert speaker.in_chunks({"match_timbre": True}) == {"match_timbre": True}
    with pytest.raises(ConfigError, match="needs whole pieces; leave chunk_seconds or match_timb"):
        speaker.stream(TEXT, dark, match_timbre=True, chunk_seconds=0.5)


@pytest.mark.parametrize("system", ["naturalspeech2", "naturalspeech3", "valle2"])
def test_the_small_releases_want_it(system):
    assert read_card(registry.release_folder(f"{system}-small")).config["match_timbre"]


def test_it_is_yes_or_no(dark):
    speaker = registry.load("naturalspeech2-small")
    assert speaker.match_timbre
    with pytest.raises(ConfigError, match="match_timbre"):
        speaker.stream("Hi.", dark, match_timbre="often")
