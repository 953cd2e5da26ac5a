"""The benchmarks, from corpus to results, on a toy world in which sound spells out what is said.

A frame of a toy sound is constant: its hundredths name a phone and its thousandths a voice.
"""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from benchmarks import figures, hard_table, material, quality, speech_table, speed
from benchmarks.codec_table import measure_codec
from benchmarks.judging import Judges, transcribe_all
from benchmarks.material import Clip, make_speaker, read_material
from speechlike import speechlike

from parlando.contracts import ConfigError
from parlando.evaluation.slips import channel_scorer
from parlando.text.normalize import normalize
from parlando.text.phonemes import phonemize
from parlando.text.vocabulary import PHONE_CLASSES, base_phone, is_phone

HOP = 200
SENTENCES = (
    "The garden is full of yellow flowers.",
    "Nobody told him about the meeting.",
    "We counted 12 boats in the harbour.",
    "My brother plays the violin badly.",
)
VOICES = {"anna": 1, "berta": 3, "carla": 5, "dora": 7}


def toy_sound(symbols, voice, frames_per_phone=4):
    values, durations = [], []
    for symbol in symbols:
        phone = is_phone(symbol)
        values.append(PHONE_CLASSES.index(base_phone(symbol)) / 100 + voice / 1000 if phone else 0)
        durations.append(frames_per_phone if phone else 2)
    frames = np.repeat(values, durations)
    return np.repeat(frames, HOP).astype(np.float32), tuple(durations)


def toy_phones(samples):
    frames = np.floor(samples[HOP // 2 :: HOP] * 100 + 0.05).astype(int)
    changes = frames[np.flatnonzero(np.diff(frames, prepend=-1))]
    return [PHONE_CLASSES[index] for index in changes if 1 < index < len(PHONE_CLASSES)]


class ToyVoices:
    name = "thousandths"

    def embed(self, samples, rate_hz):
        sounding = samples[samples > 0.005]
        voice = round(float(np.median((sounding * 100) % 1)) * 10)
        return np.eye(10)[voice] + 0.1


class ToyWords:
    name = "toy words"

    def __init__(self):
        self.heard = 0

    def transcribe(self, samples, rate_hz):
        self.heard += 1
        phones = toy_phones(samples)
        for text in SENTENCES:
            if material.reference_phones(text) == phones:
                return normalize(text)
        return "something else"


class ToySystem:
    """Speaks perfectly, but in the voice of nobody when ``voice_of`` is None."""

    def __init__(self, copies=True, skips=False):
        self.copies, self.skips = copies, skips

    def speak(self, text, voice, seed, steps=12):
        samples, rate_hz = voice
        assert rate_hz == 16_000
        copied = int(np.argmax(ToyVoices().embed(samples, rate_hz)))
        symbols = phonemize(normalize(text))
        sound, durations = toy_sound(symbols, copied if self.copies else 9)
        if self.skips:
            sound = np.delete(sound, np.s_[: len(sound) // 2])
        return SimpleNamespace(
            samples=sound,
            rate_hz=16_000,
            hop_samples=HOP,
            phonemes=tuple(symbols),
            durations_frames=durations,
            system="toy",
            save=lambda path: soundfile.write(path, sound, 16_000),
        )


def toy_judges():
    return Judges(
        words=ToyWords(),
        voices=ToyVoices(),
        phones=toy_phones,
        evidence=lambda samples: channel_scorer(toy_phones(samples), error_rate=0.05),
        phones_name="toy phones",
    )


@pytest.fixture
def corpus(tmp_path):
    rows = []
    for number, text in enumerate(SENTENCES[:2]):
        rows.append((f"valid/{number}", "known", "valid", "female", text))
    for number, speaker in enumerate(VOICES):
        for part in range(3):
            text = SENTENCES[2 + (number + part) % 2]
            sex = None if speaker == "dora" else "female"
            rows.append((f"{speaker}/{part}", speaker, "test", sex, text))
    lines = []
    for name, speaker, split, sex, text in rows:
        symbols = phonemize(normalize(text))
        sound, _ = toy_sound(symbols, VOICES.get(speaker, 0), frames_per_phone=16)
        path = tmp_path / f"{name.replace('/', '_')}.flac"
        soundfile.write(path, sound, 16_000, subtype="PCM_24")
        lines.append(
            {"id": name, "audio": path.name, "speaker": speaker, "split": split, "sex": sex}
            | {"text": text, "native_english": True, "source": "toy"}
        )
    data = tmp_path / "corpus.jsonl"
    data.write_text("\n".join(json.dumps(line) for line in lines))
    return data


def run(corpus, system, part="speech"):
    options = quality.Options(
        part=part, data=corpus, out=corpus.with_name("results.json"), keep_audio=None
    )
    world = read_material(corpus)
    models = quality.Models(codec=None, system=system)
    return quality.measure(options, models, toy_judges(), world)


def test_material_divides_speakers_into_prompt_and_other_speech(corpus):
    world = read_material(corpus)
    assert len(world.test_clips) == 12
    assert len(world.sentences) == 14
    assert [speaker.name for speaker in world.speakers] == sorted(VOICES)
    for speaker in world.speakers:
        assert len(speaker.prompt) >= material.PROMPT_SECONDS * 16_000
        assert len(speaker.enrolment) > 16_000
        assert speaker.sex_is_estimated == (speaker.name == "dora")
    assert len(read_material(corpus, limit=2).sentences) == 2
    only_valid = corpus.with_name("valid.jsonl")
    only_valid.write_text(corpus.read_text().splitlines()[0])
    with pytest.raises(ConfigError, match="0 test clips"):
        read_material(only_valid)


def test_a_single_clip_gives_prompt_and_other_speech_from_its_halves():
    speaker = make_speaker([Clip(id="a", speaker="a", samples=speechlike(10.0))])
    assert len(speaker.prompt) == pytest.approx(16_000 * 5, abs=1600)
    assert abs(len(speaker.enrolment) - len(speaker.prompt)) <= 1
    short = make_speaker([Clip(id="a", speaker="a", samples=speechlike(5.6))])
    assert len(short.prompt) == material.PROMPT_SECONDS * 16_000
    assert make_speaker([Clip(id="a", speaker="a", samples=speechlike(4.0))]) is None
    long = make_speaker([Clip(id="a", speaker="a", samples=speechlike(20.0))])
    assert len(long.prompt) == material.LONGEST_PROMPT_SECONDS * 16_000


def test_the_sex_is_estimated_from_the_pitch():
    time = np.arange(32_000) / 16_000
    for f0_hz, sex in ((110, "male"), (220, "female")):
        voice = sum(np.sin(2 * np.pi * f0_hz * k * time) / k for k in range(1, 15))
        assert material.estimated_sex(0.2 * voice.astype(np.float32)) == sex


def test_no_sentence_is_spoken_with_a_prompt_that_says_it(corpus):
    world = read_material(corpus)
    texts = [clip.text for clip in world.sentences]
    chosen = material.assign_prompts(texts[:2], world.speakers, seed=0)
    assert len({speaker.name for speaker in chosen}) == 2
    for text, speaker in zip(texts, material.assign_prompts(texts, world.speakers, 1), strict=True):
        others = [s for s in world.speakers if text not in s.prompt_texts]
        assert text not in speaker.prompt_texts or not others


def test_a_perfect_system_reaches_every_bound(corpus):
    results = run(corpus, ToySystem())
    for kind in ("words", "phones"):
        errors = results["speech"]["errors"][kind]
        assert errors["human"]["value"] == errors["system"]["value"] == 0.0
        assert errors["control"]["value"] > 0.5
        assert errors["bound"] == pytest.approx(0.4 * errors["control"]["value"], abs=1e-3)
        assert errors["reached"]
    voice = results["speech"]["voice"]
    assert voice["rank_one"]["accuracy"]["value"] == 1.0
    assert voice["rank_one"]["reached"]
    # Three women; the fourth speaker's sex is judged by a pitch that toy sounds do not have.
    assert voice["rank_one"]["speakers_of_estimated_sex"] == 1
    assert 0.25 <= voice["rank_one"]["chance"] <= 0.6
    assert voice["similarity"]["output_to_prompt"]["value"] == pytest.approx(1.0, abs=1e-3)
    assert voice["similarity"]["output_to_others_of_same_sex"] < 0.5
    saved = json.loads(corpus.with_name("results.json").read_text())
    assert saved == json.loads(json.dumps(results))
    assert saved["protocol"]["word_recognizer"] == "toy words"
    lines = (corpus.parent / "results.rows" / "speech.jsonl").read_text().splitlines()
    row = json.loads(lines[0])
    assert len(lines) == results["speech"]["sentences"] == 14
    assert row["words"]["edits"]["system"] == 0
    assert row["nearest"] == row["prompt_speaker"]


def test_a_system_with_a_voice_of_its_own_that_loses_words_reaches_none(corpus):
    speech = run(corpus, ToySystem(copies=False, skips=True))["speech"]
    assert not speech["errors"]["words"]["reached"]
    assert not speech["errors"]["phones"]["reached"]
    assert speech["errors"]["phones"]["human"]["value"] == 0.0
    assert speech["errors"]["phones"]["system_edits"]["deletions"] > 0
    assert speech["voice"]["rank_one"]["accuracy"]["value"] < 0.6
    assert not speech["voice"]["similarity"]["reached"]


def test_parts_measured_before_are_kept(corpus):
    first = run(corpus, ToySystem())
    second = run(corpus, ToySystem(), part="hard")
    assert second["speech"] == json.loads(json.dumps(first["speech"]))
    assert {"protocol", "speech", "hard"} <= set(second)


def test_hard_sentences_without_slips_after_a_proof(corpus, monkeypatch):
    monkeypatch.setattr(hard_table, "read_sentences", lambda: ["Six, six, six.", "A, B, C, D, E."])
    hard = run(corpus, ToySystem(), part="hard")["hard"]
    assert hard["detector"]["proof"]["altered"] == 14
    assert hard["detector"]["proof"]["holds"], hard["detector"]
    assert (hard["sentences"], hard["skips"], hard["repeats"]) == (2, 0, 0)
    assert hard["reached"]
    assert hard["detector"]["recordings_flagged"] == 0.0
    margins = hard["detector"]["strongest_margins"]
    assert margins["outputs"]["skip"]["p99"] < 0
    assert margins["recordings"]["repeat"]["p99"] < 0


def test_hard_sentences_of_a_system_that_loses_half_are_counted(corpus, monkeypatch):
    monkeypatch.setattr(hard_table, "read_sentences", lambda: ["Seven, four, nine, eleven, ten."])
    world = read_material(corpus)
    ordinary = speech_table.speak_sentences(ToySystem(), world, seed=0)
    lost = hard_table.speak_hard(ToySystem(skips=True), world, seed=0)
    report, rows = hard_table.measure_hard(lost, ordinary, toy_judges(), seed=0)
    assert report["detector"]["proof"]["holds"]
    assert report["skips"] >= 2
    assert not report["reached"]
    assert {slip["kind"] for slip in rows[0]["slips"]} == {"skip"}


def test_there_are_fifty_hard_sentences_and_all_can_be_spoken():
    sentences = hard_table.read_sentences()
    assert len(sentences) == len(set(sentences)) == 50
    assert all(len(material.reference_phones(sentence)) >= 2 for sentence in sentences)


def test_transcripts_are_remembered(tmp_path):
    sounds = [np.full(HOP * 4, 0.1 * k, dtype=np.float32) for k in range(3)]
    words = ToyWords()
    first = transcribe_all(words, sounds, memory=tmp_path / "m.json")
    assert words.heard == 3
    assert transcribe_all(words, [*sounds, sounds[0]], memory=tmp_path / "m.json") == [
        *first,
        first[0],
    ]
    assert words.heard == 3


class ToyCodec:
    """Each of three levels takes the noise down by 20 dB."""

    rate_hz, hop_samples, bits_per_second = 16_000, HOP, 4800.0

    def encode(self, waveform):
        self.original = waveform
        frames = waveform.shape[1] // HOP
        return torch.arange(3 * frames).reshape(1, 3, frames) % 8

    def embed(self, codes):
        return torch.full((1, codes.shape[2], 1), float(codes.shape[1]))

    def decode(self, latent):
        noise = torch.randn(self.original.shape, generator=torch.Generator().manual_seed(0))
        return self.original + 0.02 * noise * 0.1 ** float(latent[0, 0, 0])


class FlatVoices:
    name = "spectrum"

    def embed(self, samples, rate_hz):
        return np.abs(np.fft.rfft(samples[: rate_hz // 2], n=512))


def test_codec_table_over_levels():
    sound = speechlike(1.503)
    clips = [Clip(id="a", speaker="a", samples=sound), Clip(id="b", speaker="b", samples=0 * sound)]
    report, rows = measure_codec(ToyCodec(), clips, FlatVoices())
    assert [line["levels"] for line in report["table"]] == [1, 2, 3]
    assert [line["bits_per_second"] for line in report["table"]] == [1600.0, 3200.0, 4800.0]
    assert len(rows) == 6
    # Silence has no PESQ: it is left out of the mean, and the count says so.
    assert [line["pesq_wb"]["count"] for line in report["table"]] == [1, 1, 1]
    assert report["every_level_pays"]["pesq_wb"]
    assert report["verdict"]["pesq_wb"]
    assert report["codebook_perplexity"][0] == pytest.approx(8.0, abs=0.1)
    few, _ = measure_codec(ToyCodec(), clips[:1], FlatVoices(), levels=(1, 9))
    assert [line["levels"] for line in few["table"]] == [1]
    assert not few["verdict"]["pesq_wb"]


class ToyStreamer:
    synthesizer = SimpleNamespace(model=torch.nn.Linear(3, 2), name="toy")

    def stream(self, text, voice, seed):
        yield SimpleNamespace(samples=np.zeros(16_000), rate_hz=16_000)

    def speak(self, text, voice, seed):
        return SimpleNamespace(samples=np.zeros(32_000), rate_hz=16_000)


def test_speed_figures_are_medians_against_targets():
    found = speed.speaking_times(ToyStreamer(), None, repeats=4)
    assert found["paragraph_seconds"] == 2.0
    assert 0 <= found["first_audio_seconds"] <= found["first_audio_p95_seconds"] < 0.1
    assert found["real_time_factor"] < 0.1
    assert speed.parameter_counts(ToyStreamer()) == {"model": 8}
    figures_of = dict.fromkeys(speed.TARGETS, 0.1) | {"import_seconds": 9.0}
    assert speed.verdict(figures_of) == {name: name != "import_seconds" for name in speed.TARGETS}


def test_import_time_is_that_of_a_fresh_interpreter():
    assert 0.0 < speed.import_seconds(repeats=1) < 2.0
    with pytest.raises(SystemExit, match=r"process failed: .*no_such_system"):
        speed.peak_memory_bytes("no_such_system", None, threads=1)


def test_curves_are_read_by_metric_and_run(tmp_path):
    path = tmp_path / "run1" / "metrics.jsonl"
    path.parent.mkdir()
    records = [
        {"step": 20, "validation/loss": 1.0, "train/loss": 2.0},
        {"step": 10, "validation/loss": 3.0},
        {"step": 30, "validation/loss": None},
    ]
    path.write_text("\n".join(json.dumps(record) for record in records))
    curves = figures.read_curves([path])
    assert curves == {"validation/loss": {"run1": [(10, 3.0), (20, 1.0)]}}
    assert list(figures.read_curves([path], ["train/loss"])) == ["train/loss"]
    figures.draw_curves(curves, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 5000
    with pytest.raises(SystemExit, match="no such numbers"):
        figures.draw_curves({}, tmp_path / "none.png")


def test_recording_and_speech_are_drawn_on_one_axis(corpus, tmp_path):
    world = read_material(corpus, limit=1)
    (output,) = speech_table.speak_sentences(
        ToySystem(), world, seed=0, keep_audio=tmp_path / "audio"
    )

    def align(waveform, symbols):
        durations = [0] * len(symbols)
        durations[0] = len(waveform) // HOP
        return durations, 0.0

    pair = figures.panels(output, SimpleNamespace(align=align))
    assert sum(pair[0].durations_frames) == len(pair[0].samples) // HOP
    figures.draw_comparison(pair, "toy", tmp_path / "pair.png")
    assert (tmp_path / "pair.png").stat().st_size > 5000
    assert len(list((tmp_path / "audio").glob("*.wav"))) == 2
