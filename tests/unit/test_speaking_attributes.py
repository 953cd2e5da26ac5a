"""Prompts of their own for prosody, timbre and duration, in Python and on the command line."""

import numpy as np
import pytest
from sines import RATE, SineSynthesizer, babble

from parlando import registry
from parlando.audio.waveform import save
from parlando.cli.main import main
from parlando.contracts import ConfigError, PromptError
from parlando.speaking import Speaker
from parlando.speech import Voice

TEXT = "One sentence. And another one, which is longer."


class Blending(SineSynthesizer):
    """Remembers which prompts it was to blend; a prompt is its number of samples."""

    def __init__(self, attributes=("duration", "prosody", "timbre")):
        super().__init__()
        self.attributes = frozenset(attributes)
        self.used = []

    def encode_prompt(self, waveform):
        self.encoded += 1
        return len(waveform)

    def blend(self, prompt, **others):
        return {"all": prompt, **others}

    def render(self, symbols, prompt, options, generator):
        self.used.append(prompt)
        return super().render(symbols, prompt, options, generator)


def voices(*seconds):
    return [Voice.from_samples(babble(length), RATE) for length in seconds]


def test_each_attribute_may_have_a_prompt_of_its_own_and_length():
    voice, prosody, timbre, duration = voices(4.0, 2.0, 9.0, 1.5)
    system = Blending()
    speaker = Speaker(system)
    froms = {"prosody_from": prosody, "timbre_from": timbre, "duration_from": duration}
    speaker.speak(TEXT, voice, seed=0, **froms)
    lengths = {
        name: len(each.samples)
        for name, each in (
            ("all", voice), ("prosody", prosody), ("timbre", timbre), ("duration", duration)
        )
    }  # fmt: skip
    assert system.used
    assert all(prompt == lengths for prompt in system.used)
    # Each prompt is encoded once, however often it is used.
    speaker.speak(TEXT, voice, seed=0, timbre_from=prosody)
    assert system.used[-1] == {"all": lengths["all"], "timbre": lengths["prosody"]}
    assert system.encoded == 4
    speaker.speak(TEXT, voice, seed=0)
    assert system.used[-1] == lengths["all"]
    next(speaker.stream(TEXT, voice, seed=0, duration_from=timbre))
    assert system.used[-1] == {"all": lengths["all"], "duration": lengths["timbre"]}


@pytest.mark.parametrize(
    ("system", "message"),
    [
        (
            SineSynthesizer(),
            "sines reads one prompt for everything; leave out prosody_from, timbre_from",
        ),
        (
            Blending(["duration"]),
            "sines reads one prompt for everything, but for duration; leave out prosody_from, "
            "timbre_from",
        ),
    ],
)
def test_systems_refuse_attributes_that_they_do_not_have(system, message):
    voice, other = voices(3.0, 2.0)
    with pytest.raises(ConfigError, match=f"^{message}$"):
        Speaker(system).stream(TEXT, voice, timbre_from=other, prosody_from=other)
    assert not system.rendered


def test_attributes_need_usable_prompts():
    silence = (np.zeros(2 * RATE, np.float32), RATE)
    with pytest.raises(PromptError, match="silent"):
        Speaker(Blending()).stream(TEXT, voices(3.0)[0], prosody_from=silence)


def test_the_command_hands_them_on_or_tells_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, seconds in (("a", 2.0), ("b", 3.0), ("c", 4.0), ("d", 5.0)):
        save(f"{name}.wav", babble(seconds), RATE)
    system = Blending()
    monkeypatch.setattr(registry, "load", lambda name, device: Speaker(system))
    words = ["speak", TEXT, "--voice", "d.wav", "-o", "out.wav"]
    froms = ["--prosody-from", "a.wav", "--timbre-from", "b.wav", "--duration-from", "c.wav"]
    assert main([*words, *froms]) == 0
    used = system.used[-1]
    assert used["prosody"] < used["timbre"] < used["duration"] < used["all"]
    capsys.readouterr()
    for given, told in (
        (["--prosody-from", "none.wav"], "none.wav: no such file"),
        (
            ["--timbre-from", "b.wav"],
            "sines reads one prompt for everything; leave out timbre_from",
        ),
    ):
        monkeypatch.setattr(registry, "load", lambda name, device: Speaker(SineSynthesizer()))
        assert main([*words[:-1], "other.wav", *given]) == 2
        error = capsys.readouterr().err
        assert told in error
        assert error.count("\n") == 1
    assert not (tmp_path / "other.wav").exists()
