from dataclasses import replace

import numpy as np
import pytest
import torch
from tinycorpus import LEVELS, prepare, recordings

from parlando.audio.pitch import f0
from parlando.contracts import ConfigError
from parlando.data import store
from parlando.data.dataset import AudioCrops, Utterances, relative_pitch
from parlando.data.prepare import AudioOptions, prepare_audio
from parlando.data.prompts import PromptOptions, Prompts
from parlando.data.store import PreparedCorpus
from parlando.text.vocabulary import BOUNDARY, PHONE_IDS, base_phone, decode

PARTS = ("waveform", "symbols", "durations", "codes", "f0", "voiced")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("dataset"), count=24)


def assert_equal(first, second):
    assert first.keys() == second.keys()
    for name, value in first.items():
        same = torch.equal(value, second[name]) if torch.is_tensor(value) else value == second[name]
        assert same, name


def test_batches_are_a_function_of_seed_step_and_rank(corpus):
    for make in (
        lambda seed: AudioCrops(corpus, batch_size=3, crop_frames=40, seed=seed),
        lambda seed: Utterances(
            corpus, batch_frames=500, parts=PARTS, seed=seed, prompts=PromptOptions()
        ),
    ):
        one, two, other = make(5), make(5), make(6)
        steps = [7, 0, 7, 3]
        for step in steps:
            assert_equal(one.batch(step, 1, 2), two.batch(step, 1, 2))
        different = [
            not torch.equal(one.batch(s, 0, 1)["waveform"], other.batch(s, 0, 1)["waveform"])
            for s in range(3)
        ]
        assert any(different)


def test_ranks_share_one_order_and_no_utterance_of_an_epoch(corpus):
    source = Utterances(corpus, batch_frames=500)
    alone = [source.batch(step, 0, 1)["id"] for step in range(12)]
    shared = [source.batch(step, rank, 3)["id"] for step in range(4) for rank in range(3)]
    assert alone == shared
    expected = {corpus.rows[index]["id"] for index in corpus.select(split="train", aligned=True)}
    epoch: list[str] = []
    for names in alone:
        if len(epoch) < len(expected):
            epoch += names
    assert sorted(epoch) == sorted(expected)


def test_crops_of_an_epoch_cover_the_audio_and_ranks_differ(corpus):
    source = AudioCrops(corpus, batch_size=4, crop_frames=40, flip_polarity=False)
    alone = [source.batch(step, 0, 1)["waveform"] for step in range(6)]
    shared = [source.batch(step, rank, 2)["waveform"] for step in range(3) for rank in range(2)]
    assert torch.equal(torch.stack(alone), torch.stack(shared))
    assert len({crop.numpy().tobytes() for crop in torch.cat(alone)}) == 24


def test_padding_is_zero_and_agrees_with_the_masks(corpus):
    source = Utterances(corpus, batch_frames=900, parts=PARTS)
    sizes = set()
    for step in range(6):
        batch = source.batch(step, 0, 1)
        frames, symbols = batch["frame_mask"], batch["symbol_mask"]
        size, longest = frames.shape
        sizes.add(size)
        assert size * longest <= 900
        assert batch["waveform"].shape == (size, longest * 200)
        assert batch["codes"].shape == (size, LEVELS, longest)
        assert torch.equal(batch["durations"].sum(1), frames.sum(1))
        assert torch.equal(symbols, batch["symbols"] != 0)
        assert not batch["durations"][~symbols].any()
        assert not batch["codes"][:, 1][~frames].any()
        assert not batch["f0"][~frames].any()
        assert not batch["voiced"][~frames].any()
        assert not batch["waveform"][~frames.repeat_interleave(200, 1)].any()
        for name, speaker in zip(batch["id"], batch["speaker"].tolist(), strict=True):
            row = next(row for row in corpus.rows if row["id"] == name)
            assert source.speakers[speaker] == row["speaker"]
            assert row["split"] == "train"
    assert max(sizes) > 1


def test_untranscribed_utterances_come_where_no_symbols_are_asked_for(corpus):
    source = Utterances(corpus, batch_frames=10_000, parts=("waveform", "f0"))
    batch = source.batch(0, 0, 1)
    assert len(batch["id"]) == len(corpus.select(split="train")) == 21
    assert "symbol_mask" not in batch
    assert batch["frame_mask"].shape[1] * 200 == batch["waveform"].shape[1]


def test_validation_is_fixed_and_of_its_split(corpus):
    source = Utterances(
        corpus, batch_frames=600, prompts=PromptOptions(segment_share=1.0, shortest_frames=40)
    )
    first, second = list(source.validation()), list(source.validation())
    assert sorted(name for batch in first for name in batch["id"]) == ["u3", "u4"]
    for one, two in zip(first, second, strict=True):
        assert_equal(one, two)
    crops = AudioCrops(corpus, batch_size=2, crop_frames=50)
    assert [len(batch["waveform"]) for batch in crops.validation()] == [2, 1]
    for one, two in zip(crops.validation(), crops.validation(), strict=True):
        assert_equal(one, two)


def test_source_weights_change_how_often_sources_come(corpus):
    def share(weights):
        source = Utterances(corpus, batch_frames=500, parts=("f0",), source_weights=weights, seed=1)
        names = [name for step in range(150) for name in source.batch(step, 0, 1)["id"]]
        two = {row["id"] for row in corpus.rows if row["source"] == "two"}
        return np.mean([name in two for name in names])

    assert share({}) == pytest.approx(1 / 3, abs=0.04)
    assert share({"two": 0.25}) == pytest.approx(0.25 / 2.25, abs=0.04)
    assert share({"one": 0.0}) == 1.0


def test_crops_are_augmented_within_bounds(corpus):
    def crops(**options):
        source = AudioCrops(corpus, batch_size=8, crop_frames=40, **options)
        return torch.cat([source.batch(step, 0, 1)["waveform"] for step in range(4)])

    plain = crops(gain_db=(0.0, 0.0), flip_polarity=False)
    flipped = crops(gain_db=(0.0, 0.0))
    signs = (plain * flipped).sum(1).sign()
    assert 4 < int((signs > 0).sum()) < 28
    assert torch.equal(plain, flipped * signs[:, None])
    louder = crops(gain_db=(6.0, 6.0), flip_polarity=False)
    free = louder.abs().amax(1) < 0.999
    assert torch.allclose(louder[free], plain[free] * 10 ** (6 / 20), atol=1e-5)
    assert crops(gain_db=(40.0, 40.0)).abs().max() <= 1.0 + 1e-6


def test_labels_of_crops_are_those_of_the_frames_that_are_heard(corpus, monkeypatch):
    source = AudioCrops(
        corpus,
        batch_size=6,
        crop_frames=50,
        labelled=True,
        gain_db=(0.0, 0.0),
        flip_polarity=False,
    )
    places, label = [], source._labels
    monkeypatch.setattr(source, "_labels", lambda *place: places.append(place) or label(*place))
    aligned = set(corpus.select(aligned=True))
    found, silent = 0, 0
    for step in range(4):
        places.clear()
        batch = source.batch(step, 0, 1)
        assert batch["phones"].shape == batch["pitch"].shape == batch["voiced"].shape == (6, 50)
        assert batch["frame_mask"].all()
        for row, wave in enumerate(batch["waveform"]):
            index, start = places[row]
            assert torch.equal(wave, corpus.crop(index, start, 50))
            item = corpus.item(index, PARTS)
            there = slice(start, start + 50)
            speaker = corpus.rows[index]["speaker"]
            assert source.speakers[int(batch["speaker"][row])] == speaker
            voiced = item["voiced"]
            assert torch.equal(batch["voiced"][row], voiced[there])
            log_f0 = item["f0"][voiced].log()
            scale = log_f0.std(correction=0).clamp_min(0.03)
            expected = torch.zeros_like(item["f0"])
            expected[voiced] = (log_f0 - log_f0.mean()) / scale
            torch.testing.assert_close(batch["pitch"][row], expected[there], atol=1e-4, rtol=0)
            if index not in aligned:
                assert not batch["phones"][row].any()
                silent += 1
                continue
            spoken = [
                PHONE_IDS[symbol]
                for symbol, count in zip(item["symbols"], item["durations"], strict=True)
                for _ in range(count)
            ]
            assert batch["phones"][row].tolist() == spoken[there]
            found += 1
    assert found > 5
    assert silent > 2


def test_labels_change_no_crop_and_end_where_the_utterance_does(corpus):
    plain = AudioCrops(corpus, batch_size=3, crop_frames=400)
    labelled = AudioCrops(corpus, batch_size=3, crop_frames=400, labelled=True)
    assert set(plain.batch(1, 0, 1)) == {"waveform"}
    batch = labelled.batch(1, 0, 1)
    assert torch.equal(batch["waveform"], plain.batch(1, 0, 1)["waveform"])
    beyond = ~batch["frame_mask"]
    assert beyond[:, -100:].all()
    assert not beyond[:, :80].any()
    assert not batch["waveform"][beyond.repeat_interleave(200, 1)].any()
    for name in ("phones", "pitch", "voiced"):
        assert not batch[name][beyond].any()
    for one, two in zip(labelled.validation(), labelled.validation(), strict=True):
        assert_equal(one, two)
        assert set(one) == set(batch)


def test_disguised_crops_say_the_same_in_another_voice():
    # A glide is higher by the factor, frame for frame, where it is disguised.
    source = _harmonic_crops(disguise_share=0.5)
    batch, plain = source.batch(0, 0, 1), _harmonic_crops().batch(0, 0, 1)
    assert torch.equal(batch["waveform"], plain["waveform"])
    hidden = batch["disguised"]
    assert 0 < int(hidden.sum()) < len(hidden)
    assert torch.equal(batch["source"][~hidden], batch["waveform"][~hidden])
    ratios = []
    for own, other in zip(batch["waveform"][hidden], batch["source"][hidden], strict=True):
        (first, heard), (second, heard_too) = (f0(x.numpy(), 16_000, 200) for x in (own, other))
        both = heard & heard_too
        assert both.mean() > 0.5
        ratio = second[both] / first[both]
        assert np.std(ratio) < 0.03
        ratios.append(float(np.median(ratio)))
    assert all(0.74 < ratio < 1.34 for ratio in ratios)
    assert np.ptp(ratios) > 0.05


def test_disguises_are_for_training_only():
    (batch,) = _harmonic_crops(disguise_share=1.0, validation_batches=1).validation()
    assert set(batch) == {"waveform"}


class _Glide:
    """A corpus of one utterance: a harmonic sound that glides from 120 to 160 Hz."""

    rate_hz, hop_samples = 16_000, 200

    def __init__(self):
        frames = 120
        hertz = np.linspace(120.0, 160.0, frames * 200)
        phase = 2 * np.pi * np.cumsum(hertz) / self.rate_hz
        self.sound = torch.from_numpy(
            sum(np.sin(k * phase) / k for k in range(1, 20)).astype(np.float32) * 0.1
        )
        row = {"shard": 0, "n_frames": frames, "source": "glide", "speaker": "a", "split": "train"}
        self.rows = [row, row | {"split": "valid"}]

    def require(self, *stages):
        pass

    def select(self, split):
        return [index for index, row in enumerate(self.rows) if row["split"] == split]

    def crop(self, index, start, count):
        return self.sound[start * 200 : (start + count) * 200].clone()


def _harmonic_crops(**options):
    return AudioCrops(_Glide(), batch_size=12, crop_frames=100, flip_polarity=False, **options)


def test_pitch_of_a_monotone_or_a_whisper_is_not_scaled_up():
    voiced = torch.tensor([True, True, False])
    flat = relative_pitch(torch.tensor([100.0, 100.1, 0.0]), voiced)
    assert flat.abs().max() < 0.05
    assert not relative_pitch(torch.zeros(3), torch.zeros(3, dtype=torch.bool)).any()


def test_labels_need_an_alignment(tmp_path):
    out = tmp_path / "audio"
    prepare_audio(recordings(tmp_path / "corpus", 3), out, AudioOptions(), processes=1)
    with pytest.raises(ConfigError, match="alignment stage is not prepared"):
        AudioCrops(PreparedCorpus(out), batch_size=1, crop_frames=10, labelled=True)


def test_short_utterances_are_padded_to_the_crop(corpus):
    batch = AudioCrops(corpus, batch_size=3, crop_frames=400).batch(0, 0, 1)["waveform"]
    assert batch.shape == (3, 80_000)
    assert not batch[:, -20_000:].any()
    assert batch[:, :16_000].abs().amax(1).min() > 0.05


def test_silent_crops_are_drawn_again(tmp_path):
    corpus = prepare(tmp_path, count=1)
    notes = store.read_notes(corpus.folder, 0, "audio")
    frames = notes["rows"][0]["n_frames"]
    audio = np.zeros(frames * 200, np.int16)
    audio[: 100 * frames] = 5000
    arrays = {
        "audio": audio,
        "f0": np.zeros(frames, np.float32),
        "voiced": np.zeros(frames, np.uint8),
        "symbols": np.ones(notes["rows"][0]["n_symbols"], np.int16),
    }
    store.write_shard(corpus.folder, 0, "audio", arrays, notes)
    source = AudioCrops(PreparedCorpus(corpus.folder), batch_size=64, crop_frames=10)
    silent = (source.batch(0, 0, 1)["waveform"].abs().amax(1) == 0.0).float().mean()
    # A draw is silent in 0.45 of the cases, four in a row in 0.04.
    assert silent < 0.15


def test_lengths_and_parts_are_checked(corpus):
    frames = sorted(corpus.rows[i]["n_frames"] for i in corpus.select(split="train", aligned=True))
    source = Utterances(
        corpus, batch_frames=500, shortest_frames=frames[3], longest_frames=frames[-4]
    )
    seen = torch.cat([source.batch(step, 0, 1)["frame_mask"].sum(1) for step in range(20)])
    assert frames[3] <= int(seen.min())
    assert int(seen.max()) <= frames[-4]
    with pytest.raises(ConfigError, match="no utterance qualifies"):
        Utterances(corpus, batch_frames=500, split="test")
    with pytest.raises(ConfigError, match="expected at least 1"):
        AudioCrops(corpus, batch_size=0, crop_frames=10)
    with pytest.raises(ConfigError, match="prompts need"):
        Utterances(corpus, batch_frames=500, parts=("f0",), prompts=PromptOptions())
    with pytest.raises(ConfigError, match="nothing in frames"):
        Utterances(corpus, batch_frames=500, parts=("symbols",))
    with pytest.raises(ConfigError, match="not possible"):
        PromptOptions(segment_share=1.5)


def test_a_prompt_cut_out_leaves_the_rest_exact(corpus):
    options = PromptOptions(segment_share=1.0, shortest_frames=40)
    prompts = Prompts(corpus, options)
    cut = 0
    for index in corpus.select(split="train", aligned=True):
        whole = corpus.item(index, PARTS)
        rest, prompt = prompts.take(index, whole, np.random.default_rng(index))
        frames, taken = corpus.rows[index]["n_frames"], prompt["codes"].shape[1]
        assert 20 <= taken <= 0.6 * frames
        assert rest["codes"].shape[1] + taken == frames
        assert int(rest["durations"].sum()) == rest["codes"].shape[1]
        assert len(rest["durations"]) == len(rest["symbols"])
        assert len(rest["waveform"]) == rest["codes"].shape[1] * 200
        # Level 0 counts the frames: prompt and rest are the utterance, nothing twice.
        first = int(prompt["codes"][0, 0])
        assert torch.equal(prompt["codes"], whole["codes"][:, first : first + taken])
        both = torch.cat([prompt["codes"][0], rest["codes"][0]]).sort().values
        assert torch.equal(both, whole["codes"][0])
        cut += 1
    assert cut > 10


def test_joined_prompts_are_other_speech_of_the_speaker(corpus):
    options = PromptOptions(segment_share=0.0, joined_frames=(300, 300))
    prompts = Prompts(corpus, options)
    item = corpus.item(0, ("codes", "f0"))
    rest, prompt = prompts.take(0, item, np.random.default_rng(0))
    assert rest is item
    assert prompt["codes"].shape == (LEVELS, 300)
    # Speaker a speaks at 100 Hz.
    assert float(prompt["log_f0"].exp()) == pytest.approx(100.0, rel=0.05)


def test_at_least_half_of_the_prompts_last_three_seconds(corpus):
    source = Utterances(corpus, batch_frames=900, prompts=PromptOptions())
    lengths = torch.cat([source.batch(step, 0, 1)["prompt_mask"].sum(1) for step in range(60)])
    assert int(lengths.min()) >= 40
    assert float((lengths >= 240).float().mean()) > 0.5


def test_a_speaker_of_one_utterance_gives_a_part_of_it(tmp_path):
    corpus = prepare(tmp_path, count=1)
    options = PromptOptions(segment_share=0.0, shortest_frames=40)
    source = Utterances(corpus, batch_frames=500, prompts=options)
    for step in range(8):
        batch = source.batch(step, 0, 1)
        prompt, rest = batch["prompt_codes"][0, 0], batch["codes"][0, 0]
        assert len(prompt) >= 20
        assert torch.equal(torch.cat([prompt, rest]).sort().values, corpus.item(0)["codes"][0])
    # Where no random cut fits, the utterance is parted between two symbols near its middle.
    rest, prompt = Prompts(corpus, options)._halved(corpus.item(0, PARTS))
    assert abs(prompt["codes"].shape[1] - rest["codes"].shape[1]) <= 40
    # Too short to give anything away: left out, since it must not be its own prompt.
    with pytest.raises(ConfigError, match="no utterance qualifies"):
        Utterances(corpus, batch_frames=500, prompts=PromptOptions(shortest_frames=400))


def _belongs(prompt, item):
    """Tell whether a prompt's symbols are those of its frames: level 0 counts an utterance's."""
    bounds = np.concatenate([[0], item["durations"].numpy().cumsum()])
    first = int(prompt["codes"][0, 0])
    last = first + prompt["codes"].shape[1]
    spoken = (bounds[:-1] >= first) & (bounds[1:] <= last) & (bounds[1:] > bounds[:-1])
    given = prompt["symbols"][prompt["durations"] > 0].tolist()
    return given == item["symbols"].numpy()[spoken].tolist()


def test_symbols_of_prompts_belong_to_their_frames(corpus):
    options = PromptOptions(segment_share=0.0, joined_frames=(60, 90), symbols=True)
    prompts = Prompts(corpus, options)
    rng = np.random.default_rng(0)
    aligned = corpus.select(split="train", aligned=True)
    everything = [corpus.item(index, PARTS) for index in aligned]
    for number, index in enumerate(aligned * 3):
        item = everything[number % len(aligned)]
        rest, prompt = prompts.take(index, item, rng)
        assert rest is item
        assert 1 <= prompt["codes"].shape[1] == int(prompt["durations"].sum()) <= 90
        assert any(_belongs(prompt, other) for other in everything if other is not item)


def test_recognised_prompts_have_neither_stress_nor_inner_boundaries(corpus):
    options = PromptOptions(segment_share=0.0, joined_frames=(200, 200), symbols=True)
    item = corpus.item(0, PARTS)
    _, plain = Prompts(corpus, options).take(0, item, np.random.default_rng(0))
    options = replace(options, recognised_share=1.0)
    _, heard = Prompts(corpus, options).take(0, item, np.random.default_rng(0))
    assert torch.equal(heard["codes"], plain["codes"])
    assert heard["durations"].sum() == plain["durations"].sum()
    symbols = decode(plain["symbols"].tolist())
    inner = [base_phone(symbol) for symbol in symbols[1:-1] if symbol != BOUNDARY]
    assert decode(heard["symbols"].tolist())[1:-1] == inner
    # Each symbol begins when it did, but for the boundaries' frames.
    starts = dict(enumerate((plain["durations"].cumsum(0) - plain["durations"]).tolist()))
    kept = [n for n, s in enumerate(symbols) if s != BOUNDARY or n in (0, len(symbols) - 1)]
    begins = (heard["durations"].cumsum(0) - heard["durations"]).tolist()
    assert begins[1:] == [starts[n] for n in kept[1:]]


def test_joined_prompts_with_symbols_are_whole_utterances_and_a_piece(corpus):
    options = PromptOptions(segment_share=0.0, joined_frames=(500, 500), symbols=True)
    item = corpus.item(0, PARTS)
    _, prompt = Prompts(corpus, options).take(0, item, np.random.default_rng(0))
    starts = (prompt["codes"][0] == 0).sum()
    assert int(starts) >= 2
    assert 450 <= prompt["codes"].shape[1] == int(prompt["durations"].sum()) <= 500
    assert len(prompt["symbols"]) == len(prompt["durations"])


def test_a_leading_prompt_is_the_beginning_and_at_most_half(corpus):
    options = PromptOptions(
        segment_share=1.0, shortest_frames=40, joined_frames=(60, 600), leading=True, symbols=True
    )
    prompts = Prompts(corpus, options)
    for index in corpus.select(split="train", aligned=True):
        whole = corpus.item(index, PARTS)
        rest, prompt = prompts.take(index, whole, np.random.default_rng(index))
        longest = int(whole["durations"].max())
        assert 20 <= prompt["codes"].shape[1] <= corpus.rows[index]["n_frames"] / 2 + longest / 2
        for name in ("codes", "symbols", "durations"):
            assert torch.equal(torch.cat([prompt[name], rest[name]], dim=-1), whole[name])


def test_a_speaker_of_one_utterance_is_led_by_its_beginning(tmp_path):
    corpus = prepare(tmp_path, count=1)
    options = PromptOptions(segment_share=0.0, shortest_frames=40, leading=True, symbols=True)
    whole = corpus.item(0, PARTS)
    for seed in range(8):
        rest, prompt = Prompts(corpus, options).take(0, whole, np.random.default_rng(seed))
        assert torch.equal(torch.cat([prompt["codes"], rest["codes"]], dim=1), whole["codes"])


def test_batches_give_the_symbols_of_prompts_where_they_are_asked_for(corpus):
    parts = ("symbols", "durations", "codes", "f0")
    options = PromptOptions(joined_frames=(60, 90), symbols=True, leading=True)
    batch = Utterances(corpus, batch_frames=500, parts=parts, prompts=options).batch(0, 0, 1)
    frames = batch["prompt_mask"].sum(1)
    assert torch.equal(batch["prompt_durations"].sum(1), frames)
    assert batch["prompt_symbols"][~batch["prompt_symbol_mask"]].sum() == 0
    assert (batch["prompt_symbols"][batch["prompt_symbol_mask"]] > 0).all()
    plain = Utterances(corpus, batch_frames=500, parts=parts, prompts=PromptOptions())
    assert "prompt_symbols" not in plain.batch(0, 0, 1)
    with pytest.raises(ConfigError, match="prompts with symbols"):
        Utterances(corpus, batch_frames=500, parts=("codes", "f0"), prompts=options)


def test_a_grid_changes_shapes_and_nothing_that_is_real(corpus):
    options = {"parts": PARTS, "prompts": PromptOptions(symbols=True)}
    coarse = Utterances(corpus, batch_frames=640, grid=64, **options)
    frames, symbols = ("codes", "f0", "voiced", "frame_mask"), ("symbols", "durations")
    for step in range(8):
        batch = coarse.batch(step, 0, 1)
        assert {batch[name].shape[-1] % 64 for name in (*frames, "prompt_codes")} == {0}
        assert {batch[name].shape[-1] % 32 for name in (*symbols, "prompt_symbols")} == {0}
        assert batch["waveform"].shape[-1] == 200 * batch["codes"].shape[-1]
        lengths = batch["frame_mask"].sum(1)
        assert torch.equal(batch["durations"].sum(1), lengths)
        assert torch.equal(batch["prompt_durations"].sum(1), batch["prompt_mask"].sum(1))
        assert not batch["codes"].masked_select(~batch["frame_mask"][:, None]).any()
        assert batch["frame_mask"].numel() <= 640
