"""The probe on made-up codes, where it is known what they tell."""

import json
import math

import numpy as np
import pytest
import torch
from tinycorpus import prepare

from parlando.cli.main import main
from parlando.codecs.facodec import config as facodec_config
from parlando.codecs.facodec.model import build_facodec
from parlando.codecs.rvq import config as rvq_config
from parlando.codecs.rvq.model import build_rvq
from parlando.contracts import ConfigError
from parlando.data.dataset import relative_pitch
from parlando.evaluation.disentanglement import (
    Part,
    Subject,
    choose_material,
    factorized,
    levels_of_bits,
    probe,
    residual,
)
from parlando.evaluation.disentanglement_readers import ReaderOptions
from parlando.recipes import to_mapping
from parlando.reporting.disentanglement import probe_markdown
from parlando.text.vocabulary import PHONE_CLASSES, PHONE_IDS, encode
from parlando.training.checkpoint import Card, save_release

SYMBOLS = [" ", "p", "ˈiː", "s", "ɑː", "ˈɑː"]
"""Four phones, for stress is not asked for, and a pause."""
QUICK = ReaderOptions(hidden=16, steps=70, batch_size=8, crop_frames=40, learning_rate=2e-2)


class Corpus:
    """Sixty utterances of four speakers, with phones, F0 and waveforms that are drawn at random."""

    folder = "made up"

    def __init__(self, utterances=60):
        rng = np.random.default_rng(0)
        self.rows, self.tensors = [], []
        for number in range(utterances):
            split = "valid" if number % 3 == 0 else "train"
            self.rows.append({"speaker": "abcd"[number // 3 % 4], "split": split})
            symbols = torch.from_numpy(rng.integers(len(SYMBOLS), size=30))
            durations = torch.from_numpy(rng.integers(1, 5, size=30))
            frames = int(durations.sum())
            f0 = 100.0 + 20.0 * torch.sin(torch.arange(frames) / rng.uniform(3.0, 9.0))
            self.tensors.append(
                {
                    "symbols": torch.tensor(encode(SYMBOLS))[symbols],
                    "durations": durations,
                    "f0": f0,
                    "voiced": torch.from_numpy(rng.random(frames) < 0.7),
                    "waveform": torch.full((1,), float(number)),
                }
            )

    def select(self, split, aligned):
        return [number for number, row in enumerate(self.rows) if row["split"] == split]

    def item(self, index, parts):
        return {name: self.tensors[index][name] for name in parts}


def _knowing(corpus):
    """What is asked for, as codes: which utterance it is, the waveform tells."""

    def encode_one(waveform):
        number = int(waveform[0, 0])
        item = corpus.tensors[number]
        classes = torch.tensor(PHONE_IDS)[item["symbols"]].repeat_interleave(item["durations"])
        generator = torch.Generator().manual_seed(number)
        return {
            "phone": torch.eye(len(PHONE_CLASSES))[classes],
            "pitch": relative_pitch(item["f0"], item["voiced"])[:, None],
            "noise": torch.randn(len(classes), 5, generator=generator),
            "speaker": torch.eye(4)["abcd".index(corpus.rows[number]["speaker"])],
        }

    names = ("phone", "pitch", "noise", "speaker")
    parts = [Part(name=n, bits=None, read=lambda kept, n=n: kept[n]) for n in names]
    return Subject(name="knowing", encode=encode_one, parts=tuple(parts))


@pytest.fixture(scope="module")
def probing():
    corpus = Corpus()
    return probe([_knowing(corpus)], corpus, choose_material(corpus), QUICK)


@pytest.fixture(scope="module")
def found(probing):
    return {finding.part: finding for finding in probing.findings}


def test_what_is_the_answer_is_read_as_the_answer(found):
    assert found["phone"].phone.value > 0.99
    assert found["pitch"].pitch.value > 0.97
    assert found["speaker"].speaker.value == 1.0


def test_noise_tells_no_more_than_chance(probing, found):
    noise = found["noise"]
    assert noise.phone.value < probing.majority["phone"] + 0.03
    assert abs(noise.pitch.value) < 0.1
    # Of 20 utterances of 4 speakers, twelve right would be four deviations above chance.
    assert noise.speaker.value < 0.6


def test_one_answer_does_not_tell_another(probing, found):
    assert found["phone"].pitch.value < 0.1
    assert found["pitch"].phone.value < probing.majority["phone"] + 0.05


def test_vectors_of_the_whole_are_asked_for_the_speaker_only(found):
    assert (found["speaker"].phone, found["speaker"].pitch) == (None, None)


def test_intervals_hold_their_value_and_count_utterances(probing):
    for finding in probing.findings:
        for interval in (finding.phone, finding.pitch, finding.speaker):
            if interval is not None:
                assert interval.low <= interval.value <= interval.high
                assert interval.count == 20


def test_chance_is_that_of_phones_without_silence(probing):
    # A vowel with and without stress is one phone of four, and twice as frequent.
    assert probing.uniform == {"phone": 1 / 4, "speaker": 1 / 4}
    assert probing.majority["phone"] == pytest.approx(0.4, abs=0.06)
    assert probing.majority["speaker"] == pytest.approx(0.25)
    assert probing.counts["speakers"] == 4
    assert probing.counts["training_utterances"] == 40


def test_the_same_seed_finds_the_same():
    corpus = Corpus(12)
    options = ReaderOptions(hidden=8, steps=5)
    first = probe([_knowing(corpus)], corpus, choose_material(corpus), options)
    torch.manual_seed(99)
    before = torch.get_rng_state()
    assert probe([_knowing(corpus)], corpus, choose_material(corpus), options) == first
    assert torch.equal(torch.get_rng_state(), before)
    other = ReaderOptions(hidden=8, steps=5, seed=1)
    assert probe([_knowing(corpus)], corpus, choose_material(corpus), other) != first


def test_utterances_are_taken_in_turn_by_speaker():
    corpus = Corpus()
    for number, row in enumerate(corpus.rows):
        row["speaker"] = "a" if number > 20 else row["speaker"]
    material = choose_material(corpus, longest_training=12, a_speaker=7)
    by = [corpus.rows[index]["speaker"] for index in material.trained]
    assert {speaker: by.count(speaker) for speaker in "abcd"} == {"a": 3, "b": 4, "c": 3, "d": 2}
    assert not set(material.trained) & set(material.held_out)
    held = [corpus.rows[index]["speaker"] for index in material.held_out]
    assert held.count("a") == 7


def test_a_corpus_of_one_speaker_is_refused():
    corpus = Corpus(9)
    for row in corpus.rows:
        row["speaker"] = "a"
    with pytest.raises(ConfigError, match="1 speakers have aligned utterances"):
        choose_material(corpus)


def test_parts_of_codecs_and_their_bits():
    torch.manual_seed(0)
    config = facodec_config.tiny()
    codec = build_facodec(config).eval()
    subject = factorized("f", codec)
    each = math.log2(config.codebook_size)
    assert [(part.name, part.bits and part.bits / each) for part in subject.parts] == [
        ("prosody", 1),
        ("content", 2),
        ("detail", 3),
        ("prosody + content", 3),
        ("prosody + content + detail", 6),
        ("timbre", None),
    ]
    waveform = 0.1 * torch.randn(1, 11 * codec.hop_samples)
    with torch.no_grad():
        kept = subject.encode(waveform)
        read = [part.read(kept) for part in subject.parts]
        latent = codec.embed(codec.encode(waveform))[0]
    torch.testing.assert_close(read[4], latent)
    torch.testing.assert_close(read[1] + read[0], read[3])
    assert read[5].shape == (codec.timbre_width,)

    rvq = build_rvq(rvq_config.tiny()).eval()
    levels = residual("r", rvq, 2**7, [1, 2])
    assert [(part.name, part.bits) for part in levels.parts] == [("level 1", 7), ("levels 1-2", 14)]
    with torch.no_grad():
        kept = levels.encode(waveform)
        torch.testing.assert_close(
            levels.parts[0].read(kept), rvq.embed(kept["codes"][None, :1])[0]
        )


def test_levels_have_the_bits_of_parts():
    assert levels_of_bits([10, 20, 30, 60], 1024, 8) == [1, 2, 3, 6]
    assert levels_of_bits([10, 20, 30, 60], 1024, 4) == [1, 2, 3, 4]
    assert levels_of_bits([4, 8, 24], 64, 8) == [1, 4]


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    folder = tmp_path_factory.mktemp("probe")
    prepare(folder, count=15)
    for name, kind, config, build in (
        ("factors", "facodec", facodec_config.tiny(), build_facodec),
        ("levels", "codec", rvq_config.tiny(), build_rvq),
    ):
        card = Card(kind=kind, config=to_mapping(config))
        save_release(folder / name, build(config).eval(), card)
    return folder


def _words(places, out, *codecs):
    data = str(places / "prepared")
    return ["evaluate", "probe", "--codec", *codecs, "--data", data, "-o", str(out), "--steps", "3"]


def test_the_command_prints_and_writes_the_table(places, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    factors, levels = str(places / "factors"), str(places / "levels")
    assert main(_words(places, tmp_path / "out", factors, f"plain={levels}")) == 0
    printed = capsys.readouterr().out
    for word in ("factors", "plain", "no codec", "log-mel", "timbre", "level 1", "majority"):
        assert word in printed
    content = json.loads((tmp_path / "out" / "probe.json").read_text())
    assert content["counts"]["held_out_utterances"] == 2
    assert {finding["subject"] for finding in content["findings"]} == {
        "factors",
        "plain",
        "no codec",
    }
    page = (tmp_path / "out" / "probe.md").read_text()
    assert page.count("\n|") == 2 + len(content["findings"]) + 2


def test_two_codecs_of_one_name_need_labels(places, tmp_path, capsys):
    levels = str(places / "levels")
    assert main(_words(places, tmp_path / "out", levels, levels)) == 2
    assert "name them LABEL=PLACE" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_markdown_says_what_was_asked(probing):
    page = probe_markdown(probing)
    assert "| knowing | phone |" in page
    assert "held out utterances 20" in page
