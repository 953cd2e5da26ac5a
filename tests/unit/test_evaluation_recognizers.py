"""Recognisers: what they share, and the adapters on tiny random networks of their classes."""

import json
import pickle

import numpy as np
import pytest
import torch

from parlando.contracts import ConfigError
from parlando.evaluation.intelligibility import Intelligibility, scoring_words
from parlando.evaluation.measure import Sample, Trial
from parlando.evaluation.recognizers import (
    HUBERT,
    HubertRecognizer,
    PocketsphinxRecognizer,
    WhisperRecognizer,
    load_recognizer,
    quiet_pieces,
)

LETTERS = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ETAONIHSRDLU'"]


def babble(seed, seconds=2.0):
    """Noise bursts that swell like syllables."""
    generator = np.random.default_rng(seed)
    time = np.arange(round(seconds * 16000)) / 16000
    swell = np.sin(2 * np.pi * 3 * time) ** 2
    tone = sum(np.sin(2 * np.pi * 120 * k * time) / k for k in range(1, 20))
    return (swell * (0.1 * tone + 0.02 * generator.standard_normal(len(time)))).astype(np.float32)


@pytest.fixture(scope="module")
def hubert_folder(tmp_path_factory):
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("hubert-tiny")
    vocabulary = folder / "letters.json"
    vocabulary.write_text(json.dumps({letter: n for n, letter in enumerate(LETTERS)}))
    tokenizer = transformers.Wav2Vec2CTCTokenizer(str(vocabulary))
    features = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True)
    transformers.Wav2Vec2Processor(features, tokenizer).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.HubertConfig(
        vocab_size=len(LETTERS),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(8,) * 7,
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
        pad_token_id=0,
    )
    transformers.HubertForCTC(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def whisper_folder(tmp_path_factory):
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("whisper-tiny")
    words = {word: number for number, word in enumerate(["5", "Ġcats", "Ġand", "Ġ2", "Ġdogs", "!"])}
    tokenizer = transformers.WhisperTokenizer(vocab=words, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|startoftranscript|>"]})
    features = transformers.WhisperFeatureExtractor(feature_size=8)
    transformers.WhisperProcessor(features, tokenizer).save_pretrained(folder)
    torch.manual_seed(0)
    end = tokenizer.eos_token_id
    config = transformers.WhisperConfig(
        vocab_size=len(tokenizer),
        num_mel_bins=8,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        max_target_positions=16,
        decoder_start_token_id=len(tokenizer) - 1,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    network = transformers.WhisperForConditionalGeneration(config)
    network.generation_config.max_length = 10
    network.save_pretrained(folder)
    return folder


def test_pocketsphinx_does_not_depend_on_what_it_heard_before():
    recognizer = PocketsphinxRecognizer()
    quiet, loud = 0.1 * babble(0), babble(1)
    alone = recognizer.transcribe(quiet, 16_000)
    recognizer.transcribe(loud, 16_000)
    assert recognizer.transcribe(quiet, 16_000) == alone
    assert recognizer.transcribe(quiet[:0], 16_000) == ""
    # Its decoder cannot be sent to another process; a copy makes one of its own.
    assert pickle.loads(pickle.dumps(recognizer)).transcribe(quiet, 16_000) == alone


def test_hubert_hears_the_same_twice_at_any_rate_and_after_a_journey(hubert_folder):
    recognizer = HubertRecognizer(hubert_folder)
    recognizer.check()
    samples = babble(0, 1.0)
    heard = recognizer.transcribe(samples, 16_000)
    assert recognizer.transcribe(samples, 16_000) == heard
    assert heard == heard.lower()
    # A random network also says "<s>", which no word is made of.
    assert set("".join(scoring_words(heard))) <= set("".join(LETTERS[5:]).lower())
    assert pickle.loads(pickle.dumps(recognizer)).transcribe(samples, 16_000) == heard
    assert recognizer.transcribe(samples[:0], 16_000) == ""
    recognizer.transcribe(samples[:10], 16_000)  # shorter than its first window
    assert len(pickle.dumps(recognizer)) < 2000, "the weights travelled along"
    assert recognizer.name.startswith("HuBERT CTC hubert-tiny")
    assert "/" not in recognizer.name, "a path of one machine has no place in a report"


def test_hubert_merges_repeats_drops_blanks_and_parts_words(hubert_folder, monkeypatch):
    recognizer = HubertRecognizer(hubert_folder)
    recognizer.transcribe(babble(0, 0.2), 16_000)
    # "_" stands for the blank: what it parts is two letters, what it does not is one.
    path = [0 if sign == "_" else LETTERS.index(sign) for sign in "TT_HEE||TRE_E_S|"]
    logits = torch.nn.functional.one_hot(torch.tensor([path]), len(LETTERS))

    def answer(**inputs):
        assert inputs["input_values"].shape == (1, 32_000)
        # The processor of HuBERT-large brings sound to zero mean and unit variance.
        assert inputs["input_values"].std() == pytest.approx(1.0, abs=1e-3)
        return type("Output", (), {"logits": logits.float()})

    monkeypatch.setattr(recognizer, "_parts", (answer, recognizer._parts[1]))
    # Two seconds at 8 kHz are two seconds at 16 kHz.
    assert recognizer.transcribe(babble(0)[::2], 8_000) == "the trees"


def test_whisper_hears_the_same_twice_and_after_a_journey(whisper_folder):
    recognizer = WhisperRecognizer(whisper_folder)
    recognizer.check()
    heard = recognizer.transcribe(babble(0, 1.0), 16_000)
    assert recognizer.transcribe(babble(0, 1.0), 16_000) == heard
    assert pickle.loads(pickle.dumps(recognizer)).transcribe(babble(0, 1.0), 16_000) == heard
    assert recognizer.name.startswith("Whisper whisper-tiny")


@pytest.mark.parametrize(
    ("recognizer", "network"),
    [
        (HubertRecognizer, "HubertForCTC"),
        (WhisperRecognizer, "WhisperForConditionalGeneration"),
    ],
)
def test_weights_are_read_once_for_all_sounds(recognizer, network, request, monkeypatch):
    """Elsewhere a driver read Whisper anew for every file."""
    transformers = pytest.importorskip("transformers")
    place = "hubert_folder" if recognizer is HubertRecognizer else "whisper_folder"
    read, load = [], getattr(transformers, network).from_pretrained
    monkeypatch.setattr(
        getattr(transformers, network),
        "from_pretrained",
        lambda *words, **more: [read.append(words), load(*words, **more)][1],
    )
    measure = Intelligibility(lambda: recognizer(request.getfixturevalue(place)))
    for number in range(3):
        sound = babble(number, 0.3)
        measure.judge(Sample(trial=Trial(id="t", text="The trees."), output=sound, reference=sound))
    assert len(read) == 1


def test_whisper_writes_figures_out_and_hears_all_pieces_of_long_sound(whisper_folder, monkeypatch):
    recognizer = WhisperRecognizer(whisper_folder)
    recognizer.transcribe(babble(0, 0.2), 16_000)
    network, _ = recognizer._parts
    lengths = []

    def generate(input_features, **options):
        lengths.append(input_features.shape)
        assert not options["do_sample"]
        ids = [0, 1, 5] if len(lengths) == 1 else [2, 3, 4, 5]
        return torch.tensor([ids])

    monkeypatch.setattr(network, "generate", generate)
    assert recognizer.transcribe(babble(0, 40.0), 16_000) == "five cats! and two dogs!"
    assert lengths == [(1, 8, 3000)] * 2


def test_long_sound_is_cut_where_it_is_quiet_and_nothing_is_lost():
    samples = babble(3, 70.0)
    samples[28 * 16_000 : 28 * 16_000 + 320] = 0.0
    pieces = list(quiet_pieces(samples))
    assert np.array_equal(np.concatenate(pieces), samples)
    assert len(pieces[0]) == 28 * 16_000 + 160
    assert all(len(piece) <= 30 * 16_000 for piece in pieces)
    assert [len(piece) for piece in quiet_pieces(samples[:1000])] == [1000]
    assert list(quiet_pieces(samples[:0])) == []


def test_recognisers_are_found_by_name(hubert_folder):
    assert isinstance(load_recognizer("pocketsphinx"), PocketsphinxRecognizer)
    assert load_recognizer("hubert").name == f"HuBERT CTC {HUBERT}"
    assert load_recognizer("whisper", hubert_folder).name.startswith("Whisper hubert-tiny")
    with pytest.raises(ConfigError, match="unknown recogniser 'kaldi'; expected one of pocket"):
        load_recognizer("kaldi")
    with pytest.raises(ConfigError, match="brings its own model"):
        load_recognizer("pocketsphinx", hubert_folder)


@pytest.mark.parametrize("name", ["hubert", "whisper"])
def test_missing_weights_are_told_in_one_line(name, tmp_path):
    pytest.importorskip("transformers")
    for place in (tmp_path, tmp_path / "nowhere"):
        recognizer = load_recognizer(name, place)
        for attempt in (recognizer.check, lambda r=recognizer: r.transcribe(babble(0), 16_000)):
            with pytest.raises(ConfigError, match=r"cannot be loaded as .*; give a folder") as told:
                attempt()
            assert "\n" not in str(told.value)


class Elsewhere:
    """Weights that are in the cache, or only on the hub, and the tries to get them."""

    def __init__(self, monkeypatch, cached=False, online=False):
        self.tries = []
        self.cached, self.online = cached, online
        monkeypatch.setattr("huggingface_hub.HfApi.model_info", self.asked)
        for name in ("HubertForCTC", "Wav2Vec2Processor"):
            monkeypatch.setattr(f"transformers.{name}.from_pretrained", self.loaded)

    def asked(self, name, **options):
        self.tries.append("hub")
        assert options["timeout"] <= 5.0
        if not self.online:
            raise LookupError("no name\nat all")

    def loaded(self, place, *, local_files_only):
        self.tries.append("cache" if local_files_only else "network")
        if local_files_only and not self.cached:
            raise OSError("not in the cache")
        return object()


def test_without_a_network_the_hub_is_asked_once_and_for_no_file(monkeypatch):
    pytest.importorskip("transformers")
    offline = Elsewhere(monkeypatch)
    with pytest.raises(ConfigError, match=r"does not give it \(no name\); give a folder") as told:
        load_recognizer("hubert").check()
    assert str(told.value).startswith(f"{HUBERT}: ")
    assert "\n" not in str(told.value)
    assert offline.tries == ["cache", "hub"]


def test_what_was_downloaded_before_needs_no_network(monkeypatch):
    pytest.importorskip("transformers")
    offline = Elsewhere(monkeypatch, cached=True)
    load_recognizer("hubert").check()
    assert offline.tries == ["cache", "cache"]


def test_what_was_not_downloaded_is_where_the_hub_has_it(monkeypatch):
    pytest.importorskip("transformers")
    online = Elsewhere(monkeypatch, online=True)
    load_recognizer("hubert").check()
    assert online.tries == ["cache", "hub", "network", "network"]


def test_a_missing_package_is_told_with_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConfigError, match=r"pip install 'parlando\[judges\]'"):
        load_recognizer("hubert").check()
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    with pytest.raises(ConfigError, match=r"pip install 'parlando\[evaluate\]'"):
        load_recognizer("pocketsphinx").check()
