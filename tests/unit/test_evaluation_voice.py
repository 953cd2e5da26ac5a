"""The measure of voices, with a toy encoder that knows the truth and with real ones."""

import dataclasses
import pickle
from typing import ClassVar

import numpy as np
import pytest
import soundfile
import torch
from speechlike import speechlike
from test_evaluation_similarity import vowel

from parlando.codecs.facodec import config as facodec
from parlando.codecs.facodec.model import build_facodec
from parlando.contracts import AudioError, ConfigError
from parlando.evaluation.measure import Gallery, Recording, Row, Sample, Trial, figures_of
from parlando.evaluation.similarity import Voice, resynthesize
from parlando.evaluation.sounds import read_joined
from parlando.evaluation.speaker_encoders import (
    WAVLM,
    ResemblyzerEncoder,
    WavLMEncoder,
    load_encoder,
)

PITCHES = {"anna": 200.0, "berta": 220.0, "carl": 100.0}
GROUPS = {"anna": "female", "berta": "female", "carl": "male"}


class PitchEncoder:
    """An embedding of two numbers that the strongest frequency decides."""

    name = "pitch"
    made: ClassVar[int] = 0

    def __init__(self):
        type(self).made += 1

    def embed(self, samples, rate_hz):
        assert rate_hz == 16_000
        if not np.abs(samples).max(initial=0.0) > 0.01:
            raise AudioError("no voice")
        spectrum = np.abs(np.fft.rfft(samples, 16_000))
        angle = float(np.argmax(spectrum[50:]) + 50) / 400.0
        return np.array([np.cos(angle), np.sin(angle)])


def tone(hertz, seconds=4.0):
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * 16_000)) / 16_000)).astype(
        np.float32
    )


def likeness(first_hz, second_hz):
    return pytest.approx(np.cos((first_hz - second_hz) / 400.0), abs=1e-6)


@pytest.fixture
def speakers(tmp_path):
    prompts, others = {}, {}
    for name, pitch in PITCHES.items():
        soundfile.write(tmp_path / f"{name}.wav", speechlike(4.0, pitch_hz=pitch), 16_000)
        soundfile.write(tmp_path / f"{name}2.wav", speechlike(4.0, pitch_hz=pitch + 2), 16_000)
        prompts[name] = (Recording(path=tmp_path / f"{name}.wav"),)
        others[name] = (Recording(path=tmp_path / f"{name}2.wav"),)
    return prompts, Gallery(speech=others, groups=GROUPS)


def sample_of(prompts, speaker, output, **more):
    trial = Trial(id="t", speaker=speaker, group=GROUPS[speaker], prompt=prompts[speaker], **more)
    return Sample(trial=trial, output=output, prompt=read_joined(prompts[speaker]))


def test_the_voice_asked_for_stands_between_other_people_and_the_same_person(speakers):
    prompts, gallery = speakers
    measure = Voice(PitchEncoder, gallery)
    values = measure.judge(sample_of(prompts, "anna", tone(204.0))).values
    assert values["sim_o"] == (likeness(204, 200), 1)
    assert values["sim_same"] == (likeness(202, 200), 1)
    assert values["sim_others"] == (likeness(204, 222), 1)
    assert values["sim_halves"] == (likeness(200, 200), 1)
    assert "sim_r" not in values
    assert "sim_slope" not in values
    keys = {quantity.key: quantity for quantity in measure.quantities}
    assert (keys["sim_o"].human, keys["sim_o"].control) == ("sim_same", "sim_others")
    assert {q.key: q for q in Voice(PitchEncoder).quantities}["sim_o"].human == "sim_halves"
    assert set(values) <= set(keys)


def test_the_speaker_is_found_inside_the_group_and_chance_is_stated(speakers):
    prompts, gallery = speakers
    measure = Voice(PitchEncoder, gallery)
    right = measure.judge(sample_of(prompts, "anna", tone(204.0)))
    assert (right.values["rank_one"], right.notes["nearest"]) == ((1, 1), "anna")
    assert right.values["rank_one_human"] == (1, 1)
    assert right.values["rank_one_control"] == (0.5, 1)
    wrong = measure.judge(sample_of(prompts, "anna", tone(221.0)))
    assert (wrong.values["rank_one"], wrong.notes["nearest"]) == ((0, 1), "berta")
    # Nearer to the man than to any woman, but men are no candidates.
    low = measure.judge(sample_of(prompts, "berta", tone(100.0)))
    assert low.notes["nearest"] == "anna"
    alone = measure.judge(sample_of(prompts, "carl", tone(100.0)))
    assert "rank_one" not in alone.values
    assert "sim_others" not in alone.values
    assert alone.values["sim_same"] == (likeness(100, 102), 1)
    stranger = sample_of(prompts, "anna", tone(204.0))
    stranger = Sample(
        trial=dataclasses.replace(stranger.trial, speaker="zoe"),
        output=stranger.output,
        prompt=stranger.prompt,
    )
    assert set(measure.judge(stranger).values) == {"sim_o", "sim_halves"}


def test_no_voice_is_like_nobody_and_a_miss(speakers):
    prompts, gallery = speakers
    silence = np.zeros(16_000, dtype=np.float32)
    judged = Voice(PitchEncoder, gallery).judge(sample_of(prompts, "anna", silence))
    assert judged.values["sim_o"] == (0.0, 1)
    assert judged.values["rank_one"] == (0.0, 1)
    assert judged.notes["nearest"] == ""
    assert judged.values["rank_one_human"] == (1, 1)


def test_sim_r_compares_with_the_coded_prompt_and_sim_o_does_not(speakers):
    """A codec that shifts pitch: who copies its output is good by SIM-R only."""
    prompts, gallery = speakers
    measure = Voice(PitchEncoder, gallery, codec=ToyCodec)
    values = measure.judge(sample_of(prompts, "anna", tone(400.0))).values
    assert values["sim_r"] == (likeness(400, 400), 1)
    assert values["sim_o"] == (likeness(400, 200), 1)


class ToyCodec:
    """Plays every other sample twice as often: an octave up."""

    rate_hz, hop_samples = 8_000, 100

    def encode(self, waveform):
        assert waveform.shape[1] % 100 == 0
        return waveform[None]

    def embed(self, codes):
        return codes[0]

    def decode(self, latent):
        return torch.cat([latent[:, ::2], latent[:, ::2]], dim=1)


def test_resynthesis_keeps_rate_and_length():
    made = resynthesize(tone(200.0)[:15_999], ToyCodec())
    assert len(made) == 15_999
    assert np.argmax(np.abs(np.fft.rfft(made, 16_000))) == pytest.approx(400, abs=2)


def test_a_codec_that_decodes_with_a_timbre_reconstructs_by_itself():
    torch.manual_seed(0)
    codec = build_facodec(facodec.tiny()).eval()
    sound = tone(200.0)[:4_001]
    made = resynthesize(sound, codec)
    padded = torch.from_numpy(np.pad(sound, (0, -4_001 % codec.hop_samples)))[None]
    with torch.inference_mode():
        expected = codec.reconstruct(padded)[0, :4_001].numpy()
    np.testing.assert_array_equal(made, expected)


def test_noise_on_the_prompt_does_not_change_whose_voice_is_asked_for(speakers):
    prompts, gallery = speakers
    given = sample_of(prompts, "anna", tone(204.0), noise_db=0.0)
    noisy = Sample(trial=given.trial, output=given.output, prompt=tone(333.0))
    values = Voice(PitchEncoder, gallery).judge(noisy).values
    assert values["sim_o"] == (likeness(204, 200), 1)


def test_without_a_prompt_the_reference_of_the_same_speaker_is_asked_for():
    measure = Voice(PitchEncoder)
    coded = Trial(id="c", speaker="anna", reference_speaker="anna")
    values = measure.judge(Sample(trial=coded, output=tone(204.0), reference=tone(200.0))).values
    assert values["sim_o"] == (likeness(204, 200), 1)
    other = dataclasses.replace(coded, reference_speaker="carl")
    assert measure.judge(Sample(trial=other, output=tone(1), reference=tone(200.0))).values == {}


def test_a_voice_that_wanders_off_in_a_long_text_is_noticed(speakers):
    prompts, _ = speakers
    pieces = [tone(hertz, 20.0) for hertz in (200, 240, 280, 320)]
    judged = Voice(PitchEncoder).judge(sample_of(prompts, "anna", np.concatenate(pieces)))
    alike = [np.cos(shift / 400) for shift in (0, 40, 80, 120)]
    assert judged.notes["similarity_by_window"] == pytest.approx(alike, abs=1e-3)
    assert judged.values["sim_drift"][0] == pytest.approx(alike[3] - 1.0, abs=1e-3)
    assert judged.values["sim_slope"][0] == pytest.approx(3 * np.polyfit(range(4), alike, 1)[0])
    steady = Voice(PitchEncoder).judge(sample_of(prompts, "anna", tone(200.0, 80.0)))
    assert steady.values["sim_slope"][0] == pytest.approx(0.0, abs=1e-6)


def test_two_encoders_never_share_a_column(wavlm_folder):
    """Scales differ; a report that mixes them compares nothing."""
    default, other = Voice(), Voice(lambda: WavLMEncoder(wavlm_folder))
    judges = {q.judge for q in default.quantities} | {q.judge for q in other.quantities}
    assert len(judges) == 2
    assert {q.judge for q in default.quantities} == {"resemblyzer 0.1 (GE2E)"}
    assert "wavlm-tiny" in other.quantities[0].judge


def test_the_encoder_is_made_once_and_the_measure_travels(speakers):
    prompts, gallery = speakers
    PitchEncoder.made = 0
    measure = Voice(PitchEncoder, gallery)
    sample = sample_of(prompts, "anna", tone(204.0))
    values = measure.judge(sample).values
    measure.judge(sample)
    assert PitchEncoder.made == 1
    assert pickle.loads(pickle.dumps(measure)).judge(sample).values == values


def test_identical_audio_scores_one_and_figures_have_floor_and_ceiling(tmp_path):
    """The real encoder; its own weights travel with its package."""
    samples = vowel(110, (500, 1500, 2500), seconds=4.0)
    soundfile.write(tmp_path / "a.wav", samples, 16_000)
    trial = Trial(id="t", prompt=(Recording(path=tmp_path / "a.wav"),))
    measure = pickle.loads(pickle.dumps(Voice()))
    measure.check()
    judged = measure.judge(Sample(trial=trial, output=samples, prompt=samples))
    (figure, *_) = figures_of([Row(trial=trial, values=judged.values)], measure.quantities)
    assert figure.quantity.key == "sim_o"
    assert figure.value == pytest.approx(1.0, abs=1e-6)
    assert 0.5 < figure.human <= 1.0


@pytest.fixture(scope="module")
def wavlm_folder(tmp_path_factory):
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("wavlm-tiny")
    transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.WavLMConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(8,) * 7,
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
        tdnn_dim=(8, 8, 16),
        tdnn_kernel=(3, 3, 1),
        tdnn_dilation=(1, 1, 1),
        xvector_output_dim=12,
    )
    transformers.WavLMForXVector(config).save_pretrained(folder)
    return folder


def test_wavlm_gives_unit_vectors_and_the_same_ones_after_a_journey(wavlm_folder):
    encoder = WavLMEncoder(wavlm_folder)
    encoder.check()
    sound = speechlike(1.0)
    vector = encoder.embed(sound, 16_000)
    assert vector.shape == (12,)
    assert np.linalg.norm(vector) == pytest.approx(1.0)
    copied = pickle.dumps(encoder)
    assert len(copied) < 1000, "the weights travelled along"
    assert np.array_equal(pickle.loads(copied).embed(sound, 16_000), vector)
    # How long the silence around the speech lasts says nothing of the speaker.
    once, twice = (np.pad(sound, seconds * 16_000) for seconds in (1, 2))
    assert np.allclose(encoder.embed(once, 16_000), encoder.embed(twice, 16_000), atol=1e-6)
    with pytest.raises(AudioError, match="no voice"):
        encoder.embed(np.zeros(16_000, dtype=np.float32), 16_000)


def test_encoders_are_found_by_name_and_say_what_is_missing(tmp_path, monkeypatch):
    assert isinstance(load_encoder("resemblyzer"), ResemblyzerEncoder)
    assert load_encoder("wavlm").name == f"WavLM x-vector {WAVLM}"
    with pytest.raises(ConfigError, match="unknown speaker encoder 'ecapa'"):
        load_encoder("ecapa")
    with pytest.raises(ConfigError, match="brings its own weights"):
        load_encoder("resemblyzer", tmp_path)
    with pytest.raises(ConfigError, match="cannot be loaded as WavLMForXVector") as told:
        Voice(lambda: load_encoder("wavlm", tmp_path)).check()
    assert "\n" not in str(told.value)
    monkeypatch.setitem(__import__("sys").modules, "resemblyzer", None)
    with pytest.raises(ConfigError, match=r"pip install 'parlando\[evaluate\]'"):
        Voice().check()
