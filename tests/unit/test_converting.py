"""Recordings in another voice: length, level, parts, marking, and the command."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
import torch
from speechlike import padded, speechlike

from parlando.audio import equalization
from parlando.audio.pitch import f0
from parlando.audio.waveform import active_level_db, load, resample, save
from parlando.cli.main import main
from parlando.codecs.facodec.config import paper, small, tiny
from parlando.codecs.facodec.conversion import FACodecConverter
from parlando.codecs.facodec.model import build_facodec
from parlando.contracts import AudioError, ConfigError, PromptError
from parlando.converting import VoiceConverter
from parlando.recipes import to_mapping
from parlando.registry import load_converter
from parlando.safety import provenance
from parlando.training.checkpoint import Card, save_release

RATE = 16_000
TARGET = (speechlike(2.5, pitch_hz=210.0), RATE)


def _codec(config):
    torch.manual_seed(0)
    codec = build_facodec(config).eval()
    # As after training: at first all timbres sound alike.
    torch.nn.init.normal_(codec.conditioning.projection.weight)
    return codec.requires_grad_(False)


@pytest.fixture
def folder(tmp_path):
    config = tiny()
    card = Card(kind="facodec", config=to_mapping(config))
    save_release(tmp_path / "tiny-codec", _codec(config), card)
    return tmp_path / "tiny-codec"


class Quieter:
    """Halves what it hears and forgets the voice."""

    name, rate_hz, hop_samples, context_frames = "quieter", RATE, 200, 3

    def __init__(self):
        self.heard = []

    def encode_voice(self, waveform):
        return None

    def contrast(self, voice, own):
        return voice

    def convert(self, waveform, voice):
        self.heard.append(len(waveform))
        return 0.5 * waveform


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100])
def test_a_conversion_is_as_long_and_as_loud_as_its_source(rate_hz):
    source = 0.3 * speechlike(1.237, rate_hz)
    made = VoiceConverter(Quieter()).convert((source, rate_hz), TARGET)
    at_rate = resample(source, rate_hz, RATE)
    assert made.samples.shape == at_rate.shape
    assert active_level_db(made.samples, RATE) == pytest.approx(
        active_level_db(at_rate, RATE), abs=0.1
    )


def test_the_source_is_heard_without_its_offset():
    class Listener(Quieter):
        def convert(self, waveform, voice):
            assert abs(float(waveform.mean())) < 1e-4
            assert active_level_db(waveform.numpy(), RATE) == pytest.approx(-23.0, abs=0.1)
            return waveform

    VoiceConverter(Listener()).convert((speechlike(2.0) + 0.1, RATE), TARGET)


def test_parts_overlap_by_the_context_only():
    quieter = Quieter()
    steps = []
    VoiceConverter(quieter, part_seconds=1.0).convert(
        (speechlike(2.5), RATE), TARGET, progress=lambda *step: steps.append(step)
    )
    assert quieter.heard == 2 * [16_600, 17_200, 8_600]
    assert steps == [(done, 6) for done in range(1, 7)]


@pytest.mark.parametrize(
    "config",
    [
        tiny(),
        dataclasses.replace(tiny(), prosody_input="mel"),
        small(),
        dataclasses.replace(paper(), encoder_width=4, decoder_width=32, timbre_layers=1),
    ],
    ids=["tiny", "mel", "small", "seanet"],
)
def test_parts_are_joined_exactly(config):
    converter = FACodecConverter(_codec(config), "codec")
    source = padded(speechlike(2.9, pitch_hz=90.0), 0.2, 0.3)
    whole = VoiceConverter(converter).convert((source, RATE), TARGET).samples
    parts = VoiceConverter(converter, part_seconds=1.1).convert((source, RATE), TARGET).samples
    assert np.abs(whole).max() > 1e-3
    assert np.abs(whole - parts).max() < 1e-4 * np.abs(whole).max()


def test_the_codes_are_the_source_and_the_timbre_the_voice():
    codec = _codec(tiny())
    source, target = (torch.from_numpy(speechlike(1.0, pitch_hz=p)) for p in (90.0, 200.0))
    converter = FACodecConverter(codec, "codec")
    voice = converter.encode_voice(target[:-77])
    made = converter.convert(source, voice)
    wanted = codec.decode(
        codec.embed(codec.encode(source[None])), codec.timbre(target[None, :-200])
    )
    torch.testing.assert_close(made, wanted[0])
    own = converter.convert(source, converter.encode_voice(source))
    torch.testing.assert_close(own, codec.reconstruct(source[None])[0])
    assert not torch.allclose(own, made, atol=1e-3)


def test_a_voice_is_contrasted_with_the_source_own():
    codec = _codec(tiny())
    source, target = (torch.from_numpy(speechlike(1.0, pitch_hz=p)) for p in (90.0, 200.0))
    own, voice = (FACodecConverter(codec, "codec").encode_voice(x) for x in (source, target))
    for strength, wanted in ((0.0, own), (1.0, voice), (1.5, voice + 0.5 * (voice - own))):
        converter = FACodecConverter(codec, "codec", strength=strength)
        torch.testing.assert_close(converter.contrast(voice, own), wanted)
    # At 0 the source keeps its voice, whoever was to be heard.
    converter = FACodecConverter(codec, "codec", strength=0.0)
    made, kept = (
        VoiceConverter(converter, match_timbre=False, approach=0.0)
        .convert((source.numpy(), RATE), who)
        .samples
        for who in (TARGET, (speechlike(2.0, pitch_hz=120.0), RATE))
    )
    assert np.array_equal(made, kept)
    with pytest.raises(ConfigError, match="give 0 to 4"):
        FACodecConverter(codec, "codec", strength=-1.0)


def test_the_result_has_the_timbre_of_the_prompt():
    source = (speechlike(2.0), RATE)
    dull = np.convolve(TARGET[0], np.ones(8) / 8, mode="same").astype(np.float32)

    def brightness(who, **options):
        made = VoiceConverter(Quieter(), **options).convert(source, (who, RATE)).samples
        power = np.abs(np.fft.rfft(made)) ** 2
        return power[len(power) // 4 :].sum() / power.sum()

    assert brightness(dull) < 0.5 * brightness(TARGET[0])
    options = {"match_timbre": False, "approach": 0.0}
    kept = (brightness(who, **options) for who in (dull, TARGET[0]))
    assert len(set(kept)) == 1


class Recorder(Quieter):
    """Gives back what it hears, a little brighter each time and with an offset."""

    def __init__(self):
        super().__init__()
        self.sounds, self.owns = [], []

    def contrast(self, voice, own):
        return own

    def encode_voice(self, waveform):
        return waveform

    def convert(self, waveform, voice):
        self.sounds.append(waveform.numpy())
        self.owns.append(voice)
        return waveform - 0.5 * waveform.roll(1) + 0.05


def test_each_round_converts_what_came_of_the_one_before():
    recorder = Recorder()
    options = {"match_timbre": False, "approach": 0.0}
    source = (speechlike(1.0), RATE)
    VoiceConverter(recorder, rounds=3, **options).convert(source, TARGET)
    for before, after in pairwise(recorder.sounds):
        brighter = before - 0.5 * np.roll(before, 1)
        brighter -= brighter.mean()
        level = np.std(after) / np.std(brighter)
        np.testing.assert_allclose(after, level * brighter, atol=1e-5)
        assert active_level_db(after, RATE) == pytest.approx(-23.0, abs=0.1)
    # Each round goes away from the voice that it hears.
    brightness = [float((own.diff() ** 2).mean() / (own**2).mean()) for own in recorder.owns]
    assert brightness == sorted(brightness)
    assert len(set(brightness)) == 3


@pytest.mark.parametrize(
    ("approach", "prompt_hz", "wanted_hz"),
    [
        (0.0, 210.0, 120.0),
        (0.3, 210.0, 120.0 * 1.75**0.3),
        (1.0, 135.0, 135.0),
        (0.5, 80.0, 120.0 * 1.5**-0.5),
        # No farther than by a quarter.
        (1.0, 210.0, 150.0),
        (1.0, 80.0, 96.0),
    ],
)
def test_the_source_is_moved_towards_the_pitch_of_the_prompt(approach, prompt_hz, wanted_hz):
    recorder = Recorder()
    converter = VoiceConverter(recorder, rounds=1, approach=approach)
    source = speechlike(2.0, pitch_hz=120.0)
    made = converter.convert((source, RATE), (speechlike(2.5, pitch_hz=prompt_hz), RATE))
    hertz, voiced = f0(recorder.sounds[0], RATE, 200)
    assert np.median(hertz[voiced]) == pytest.approx(wanted_hz, rel=0.02)
    assert len(made.samples) == len(source)


def test_pitch_found_by_chance_in_noise_moves_nothing():
    # Too little of it is voiced, by the voice and by chance together.
    late = np.concatenate([0.5 * noise(19.0), speechlike(0.8, pitch_hz=120.0)])
    recorder = Recorder()
    VoiceConverter(recorder, rounds=1).convert((late, RATE), TARGET)
    level = np.std(recorder.sounds[0]) / np.std(late)
    np.testing.assert_allclose(recorder.sounds[0], level * (late - late.mean()), atol=1e-4)


def test_between_rounds_the_filter_is_passed_once(monkeypatch):
    passes = []
    whole = equalization.match_timbre
    monkeypatch.setattr(
        equalization,
        "match_timbre",
        lambda *sounds, **options: passes.append(options["passes"]) or whole(*sounds, **options),
    )
    VoiceConverter(Quieter(), rounds=3).convert((speechlike(1.0), RATE), TARGET)
    assert passes == [1, 1, equalization.PASSES]


def test_a_converter_that_falls_silent_is_told_of():
    class Silence(Quieter):
        def convert(self, waveform, voice):
            return 0.0 * waveform

    with pytest.raises(AudioError, match="quieter: no speech comes out in round 1"):
        VoiceConverter(Silence()).convert((speechlike(1.0), RATE), TARGET)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"rounds": 0}, "give 1 to 8"),
        ({"rounds": 9}, "give 1 to 8"),
        ({"rounds": 2.0}, "rounds is 2.0; .*a whole number"),
        ({"rounds": True}, "rounds is True"),
        ({"approach": -0.1}, "give 0 to 1"),
        ({"approach": 1.5}, "give 0 to 1"),
        ({"approach": float("nan")}, "give 0 to 1"),
    ],
)
def test_rounds_and_approach_have_limits(options, told):
    with pytest.raises(ConfigError, match=told):
        VoiceConverter(Quieter(), **options)


def test_attributes_of_the_source_are_left_out():
    codec = _codec(tiny())
    source = torch.from_numpy(speechlike(1.0))
    converter = FACodecConverter(codec, "codec", without=("detail",))
    made = converter.convert(source, converter.encode_voice(source))
    torch.testing.assert_close(made, codec.reconstruct(source[None], without=("detail",))[0])
    with pytest.raises(ConfigError, match="name prosody, detail, both or none"):
        FACodecConverter(codec, "codec", without=("content",))


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ((np.zeros(RATE, np.float32), RATE), "no speech"),
        ((np.full(RATE, np.nan, np.float32), RATE), "NaN"),
        ((np.zeros((2, RATE), np.float32), RATE), "shape"),
        ((np.zeros(0, np.float32), RATE), "shape"),
        ((np.ones(RATE, np.int16), RATE), "int16"),
        (7, "type int"),
    ],
)
def test_a_source_without_speech_is_refused(source, told):
    with pytest.raises(AudioError, match=told):
        VoiceConverter(Quieter()).convert(source, TARGET)


def noise(seconds, rate_hz=RATE):
    sound = 0.1 * np.random.default_rng(0).standard_normal(round(seconds * rate_hz))
    return sound.astype(np.float32)


@pytest.mark.parametrize("rate_hz", [8_000, RATE, 44_100])
@pytest.mark.parametrize("seconds", [1.2, 3.0, 21.0])
def test_noise_is_no_speech(seconds, rate_hz):
    sound, converter = (noise(seconds, rate_hz), rate_hz), VoiceConverter(Quieter())
    with pytest.raises(AudioError, match="the source: no voice is heard in it"):
        converter.convert(sound, TARGET)
    with pytest.raises(PromptError, match="no voice is heard in the prompt"):
        converter.convert(TARGET, sound)


def test_a_voice_in_noise_and_long_after_its_beginning_is_speech():
    speech, hiss = speechlike(3.0), noise(30.0)
    # As loud as the voice.
    loud = hiss * np.float32(np.std(speech) / np.std(hiss))
    VoiceConverter(Quieter()).convert((speech + loud[: len(speech)], RATE), TARGET)
    late = np.concatenate([0.3 * hiss, speech])
    assert len(VoiceConverter(Quieter()).convert((late, RATE), TARGET).samples) == len(late)


def test_a_voice_must_be_a_prompt():
    with pytest.raises(PromptError, match=r"at least 1 s"):
        VoiceConverter(Quieter()).convert(TARGET, (speechlike(0.4), RATE))


def test_the_command_writes_a_marked_file_and_one_line(folder, tmp_path, capsys):
    source, voice, out = (tmp_path / name for name in ("source.wav", "voice.flac", "out.wav"))
    save(source, speechlike(1.3, 22_050), 22_050)
    save(voice, *TARGET)
    words = ["convert", str(source), "--voice", str(voice), "-o", str(out)]
    assert main([*words, "--system", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"{out}: 1.30 s, real-time factor ")
    assert printed.count("\n") == 1
    made = load_converter(folder).convert(source, voice)
    assert np.abs(load(out).samples - made.samples).max() < 1e-4
    marked = provenance.read(out)
    assert (marked.system, marked.nature) == ("tiny-codec", "a recording in another voice")
    for more in (
        ["--without"],
        ["--without", "prosody", "detail"],
        ["--strength", "3"],
        ["--no-match-timbre"],
        ["--rounds", "1"],
    ):
        assert main([*words, "--system", str(folder), *more]) == 0
        assert np.abs(load(out).samples - made.samples).max() > 1e-3
    # A codec without training codes all sounds alike: that the source was moved cannot be heard.
    assert load_converter(folder, approach=0.25).approach == 0.25
    assert main([*words, "--system", str(folder), "--approach", "2"]) == 2
    assert "approach is 2.0; give 0 to 1" in capsys.readouterr().err


@pytest.mark.parametrize("system", ["valle2-small", "naturalspeech3-small"])
def test_a_system_converts_with_the_codec_that_it_speaks_on(system):
    made = load_converter(system).convert((speechlike(1.2), RATE), TARGET)
    alone = load_converter("facodec-small").convert((speechlike(1.2), RATE), TARGET)
    assert made.system == system
    assert np.array_equal(made.samples, alone.samples)


def test_what_has_no_factorized_codec_cannot_convert():
    with pytest.raises(ConfigError, match="naturalspeech2-small cannot convert, for its codec is"):
        load_converter("naturalspeech2-small")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"source": "missing.wav"}, "no such file"),
        ({"voice": "missing.wav"}, "no such file"),
        ({"source": "noise.wav"}, "the source: no voice is heard in it"),
        ({"voice": "noise.wav"}, "noise.wav: no voice is heard in the prompt"),
        ({"out": "out.doc"}, "unknown sound format"),
        ({"system": "facodec-large"}, "facodec-large"),
    ],
)
def test_the_command_tells_what_is_wrong_in_one_line(changes, told, folder, tmp_path, capsys):
    save(tmp_path / "sound.wav", *TARGET)
    save(tmp_path / "noise.wav", noise(3.0), RATE)
    names = {"source": "sound.wav", "voice": "sound.wav", "out": "out.wav"} | changes
    places = {key: str(tmp_path / name) for key, name in names.items() if key != "system"}
    words = [places["source"], "--voice", places["voice"], "-o", places["out"]]
    assert main(["convert", *words, "--system", changes.get("system", str(folder))]) == 2
    error = capsys.readouterr().err
    assert error.startswith("parlando: ")
    assert error.count("\n") == 1
    assert told in error
    assert not (tmp_path / "out.wav").exists()
