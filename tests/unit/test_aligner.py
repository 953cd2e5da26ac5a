"""The aligner and phone recogniser, and what they learn."""

import math

import pytest
import torch

from parlando.aligner.config import small, tiny
from parlando.aligner.model import Aligner
from parlando.aligner.objective import AlignerObjective, _add_noise, edit_distance
from parlando.contracts import TextError
from parlando.text import vocabulary

HOP = 200
SYMBOLS = [" ", "s", "ˈɑː", " ", "m", "iː", "."]


def _aligner():
    torch.manual_seed(0)
    return Aligner(tiny()).eval()


def _speech(frames, seed=0):
    """Noise whose spectrum changes every eight frames."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(frames * HOP, generator=generator)
    time = torch.arange(frames * HOP) / 16_000
    pitch = 200.0 * (1 + torch.arange(frames * HOP) // (8 * HOP))
    return 0.3 * torch.sin(2 * torch.pi * pitch * time) + 0.01 * noise


def _batch():
    texts = [[" ", "s", "ˈɑː", " ", "m", "iː", "."], [" ", "m", "ˌɑː", "."]]
    ids = [vocabulary.encode(text) for text in texts]
    symbols = torch.tensor([row + [0] * (7 - len(row)) for row in ids])
    waveform = torch.stack([_speech(40), _speech(40, seed=1)])
    waveform[1, 24 * HOP :] = 0.0
    return {
        "waveform": waveform,
        "symbols": symbols,
        "symbol_mask": symbols > 0,
        "frame_mask": torch.arange(40)[None] < torch.tensor([[40], [24]]),
    }


def test_features_have_a_frame_per_hop_at_any_precision():
    aligner, waveform = _aligner(), _speech(12)[None]
    mel = aligner.features(waveform)
    assert mel.shape == (1, 12, 20)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(aligner.features(waveform), mel)


def test_level_changes_nothing():
    aligner = _aligner()
    mask = torch.ones(1, 12, dtype=torch.bool)
    mel = aligner.features(_speech(12)[None])
    torch.testing.assert_close(
        aligner.encode(mel + 1.3, mask), aligner.encode(mel, mask), rtol=1e-3, atol=1e-4
    )


def test_padding_changes_nothing():
    aligner, batch = _aligner(), _batch()
    mel = aligner.features(batch["waveform"])
    together = aligner.encode(mel, batch["frame_mask"])
    alone = aligner.encode(mel[1:, :24], batch["frame_mask"][1:, :24])
    torch.testing.assert_close(together[1:, :24], alone, rtol=1e-4, atol=1e-5)
    match = aligner.match(together, batch["symbols"], batch["symbol_mask"])
    alone_match = aligner.match(alone, batch["symbols"][1:, :4], batch["symbol_mask"][1:, :4])
    torch.testing.assert_close(match[1:, :24, :4], alone_match, rtol=1e-3, atol=1e-4)


def test_padding_has_no_gradient():
    aligner, batch = _aligner(), _batch()
    mel = aligner.features(batch["waveform"]).requires_grad_()
    encoded = aligner.encode(mel, batch["frame_mask"])
    encoded[batch["frame_mask"]].square().sum().backward()
    assert mel.grad[1, 24:].abs().sum() == 0.0


def test_loss_does_not_depend_on_padding():
    aligner, batch = _aligner(), _batch()
    objective = AlignerObjective(aligner).eval()
    mel = aligner.features(batch["waveform"])
    together = objective._losses(mel, batch, tightness=0.5)
    frames, counts = [40, 24], [7, 4]
    parts = []
    for row in range(2):
        one = {
            "symbols": batch["symbols"][row : row + 1, : counts[row]],
            "symbol_mask": batch["symbol_mask"][row : row + 1, : counts[row]],
            "frame_mask": batch["frame_mask"][row : row + 1, : frames[row]],
        }
        parts.append(objective._losses(mel[row : row + 1, : frames[row]], one, tightness=0.5))
    for name in ("alignment", "recognition"):
        mean = (parts[0][name] + parts[1][name]) / 2.0
        torch.testing.assert_close(together[name], mean, rtol=1e-3, atol=1e-3)


def test_every_part_learns_from_its_loss():
    objective, batch = AlignerObjective(_aligner()), _batch()
    losses = objective("all", batch, 0).losses
    shared = {"input", "norm", "blocks", "output_norm"}
    for name, own in (
        ("alignment", {"query", "symbols", "context"}),
        ("recognition", {"recogniser"}),
    ):
        objective.zero_grad()
        losses[name].backward(retain_graph=True)
        moved = {
            part
            for part, parameter in objective.aligner.named_parameters()
            if parameter.grad is not None and parameter.grad.abs().sum() > 0.0
        }
        assert {part.split(".")[0] for part in moved} == shared | own


def test_noise_lies_under_the_speech_of_a_share_of_the_items():
    torch.manual_seed(0)
    mel = _aligner().features(torch.stack([_speech(40, seed=seed) for seed in range(40)]))
    torch.testing.assert_close(_add_noise(mel, share=0.0), mel)
    noisy = _add_noise(mel, share=0.5)
    assert (noisy >= mel).all()
    touched = (noisy > mel).flatten(1).any(1).float().mean()
    assert 0.2 < touched < 0.8
    # The loudest band stays the loudest: speech is not drowned.
    assert (noisy.amax((1, 2)) - mel.amax((1, 2))).max() < 1.0


def test_too_long_a_text_teaches_nothing_and_breaks_nothing():
    objective, batch = AlignerObjective(_aligner()), _batch()
    batch["frame_mask"] = torch.arange(40)[None] < torch.tensor([[40], [1]])
    result = objective("all", batch, 0)
    sum(result.losses.values()).backward()
    gradients = [p.grad for p in objective.parameters() if p.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
    only = {name: value[:1] for name, value in batch.items()}
    objective.eval()
    mel = objective.aligner.features(batch["waveform"])
    both, one = objective._losses(mel, batch, 0.5), objective._losses(mel[:1], only, 0.5)
    torch.testing.assert_close(both["alignment"], one["alignment"], rtol=1e-3, atol=1e-3)


def test_one_batch_is_learnt():
    torch.manual_seed(0)
    objective, batch = AlignerObjective(Aligner(tiny())), _batch()
    optimizer = torch.optim.AdamW(objective.parameters_of("all"), lr=1e-2)
    before = objective.eval().validate(batch)
    for _ in range(150):
        losses = objective._losses(objective.aligner.features(batch["waveform"]), batch, 0.2)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    after = objective.validate(batch)
    assert after["recognition"] < 0.1 * before["recognition"]
    assert after["phone_error_rate"] <= 0.2
    heard = objective.aligner.recognize(batch["waveform"][0])
    assert "".join(heard) == "sɑːmiː"


def test_alignment_fills_the_frames():
    durations, score = _aligner().align(_speech(40), SYMBOLS)
    assert sum(durations) == 40
    assert len(durations) == len(SYMBOLS)
    phones = [
        length
        for length, symbol in zip(durations, SYMBOLS, strict=True)
        if vocabulary.is_phone(symbol)
    ]
    assert min(phones) >= 1
    assert math.isfinite(score)


def test_too_short_speech_is_not_aligned():
    durations, score = _aligner().align(_speech(3), SYMBOLS)
    assert score == -math.inf
    assert sum(durations) == 0


def test_bad_texts_are_refused():
    with pytest.raises(TextError, match="no symbols"):
        _aligner().align(_speech(10), [])
    with pytest.raises(TextError, match="unknown symbol"):
        _aligner().align(_speech(10), ["q"])


def test_stress_does_not_change_the_match():
    aligner = _aligner()
    mel = aligner.features(_speech(12)[None])
    encoded = aligner.encode(mel, torch.ones(1, 12, dtype=torch.bool))
    mask = torch.ones(1, 2, dtype=torch.bool)
    first, second = (
        aligner.match(encoded, torch.tensor([vocabulary.encode(text)]), mask)
        for text in (["s", "ˈɑː"], ["s", "ɑː"])
    )
    torch.testing.assert_close(first, second)


def test_recognition_merges_repeats_and_drops_blanks():
    aligner = _aligner()
    wanted = [0, 5, 5, 0, 5, 7, 7, 0]

    def spell(encoded):
        return torch.nn.functional.one_hot(torch.tensor([wanted]), 50).float()

    aligner.phone_log_probabilities = spell
    names = [vocabulary.PHONE_CLASSES[index] for index in (5, 5, 7)]
    assert aligner.recognize(_speech(8)) == names


def test_recognition_tells_pauses_between_phones_only():
    aligner = _aligner()
    frames = 160
    # Speech for half a second, silence for one, speech for half a second; 80 frames a second.
    sound = _speech(frames)
    sound[40 * 200 : 120 * 200] = 0.0
    wanted = [0] * frames
    wanted[5], wanted[35], wanted[125], wanted[150] = 5, 6, 7, 8

    def spell(encoded):
        return torch.nn.functional.one_hot(torch.tensor([wanted]), 50).float()

    aligner.phone_log_probabilities = spell
    names = [vocabulary.PHONE_CLASSES[index] for index in (5, 6, 1, 7, 8)]
    assert aligner.recognize(sound) == names


def test_edit_distance():
    assert edit_distance([1, 2, 3], [1, 2, 3]) == 0
    assert edit_distance([], [1, 2]) == 2
    assert edit_distance([1, 2, 3], [2, 3]) == 1
    assert edit_distance([1, 2, 3, 4], [1, 3, 3, 5]) == 2


def test_validation_repeats():
    objective, batch = AlignerObjective(_aligner()).eval(), _batch()
    assert objective.validate(batch) == objective.validate(batch)


def test_the_released_shape_has_two_million_parameters():
    count = sum(parameter.numel() for parameter in Aligner(small()).parameters())
    assert 1.5e6 < count < 2.5e6
