"""Spectra: inverses, filters, the clock of frames."""

import librosa
import numpy as np
import pytest
import torch

from parlando.audio.distance import compressed_complex_distance, multi_resolution_mel_distance
from parlando.audio.spectrogram import (
    compress,
    hertz_to_mel,
    istft,
    log_mel,
    mel_filterbank,
    stft,
)

SHAPES = [
    (640, 200, 1),
    (640, 200, 7),
    (512, 200, 12),
    (400, 200, 5),
    (256, 64, 33),
    (1024, 256, 3),
]


def _noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("n_fft", "hop", "frames"), SHAPES)
def test_the_inverse_returns_the_waveform(n_fft, hop, frames):
    waveform = _noise(2, frames * hop)
    spectrum = stft(waveform, n_fft, hop)
    assert spectrum.shape == (2, n_fft // 2 + 1, frames)
    back = istft(spectrum, n_fft, hop)
    assert back.shape == waveform.shape
    # The outermost samples lie under the tail of one window only.
    inner = slice(n_fft // 8, waveform.shape[1] - n_fft // 8)
    torch.testing.assert_close(back[:, inner], waveform[:, inner], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("n_fft", "hop"), [(640, 200), (512, 200), (1024, 256)])
def test_frames_are_centred_on_their_samples(n_fft, hop):
    for frame in (3, 6):
        impulse = torch.zeros(1, 10 * hop)
        impulse[0, frame * hop + hop // 2] = 1.0
        level = stft(impulse, n_fft, hop).abs().mean(1)[0]
        assert int(level.argmax()) == frame
        torch.testing.assert_close(level[frame - 1], level[frame + 1], rtol=1e-3, atol=1e-4)


def test_stft_is_librosas():
    waveform = _noise(1, 2000)
    found = stft(waveform, 512, 200)[0]
    padded = np.pad(waveform[0].numpy(), 156, mode="reflect")
    expected = librosa.stft(padded, n_fft=512, hop_length=200, center=False)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-3)


@pytest.mark.parametrize(
    ("n_fft", "bands", "low_hz"), [(512, 40, 0.0), (1024, 80, 0.0), (2048, 80, 50.0)]
)
def test_filters_are_librosas_on_the_htk_scale(n_fft, bands, low_hz):
    found = mel_filterbank(16_000, n_fft, bands, low_hz).numpy()
    expected = librosa.filters.mel(
        sr=16_000, n_fft=n_fft, n_mels=bands, fmin=low_hz, htk=True, norm=None
    )
    sums = expected.sum(1, keepdims=True)
    filled = sums[:, 0] > 0.0
    np.testing.assert_allclose(found[filled], (expected / sums.clip(1e-9))[filled], atol=2e-4)
    # What slaney's normalisation changes is the height only: shapes agree as well.
    slaney = librosa.filters.mel(
        sr=16_000, n_fft=n_fft, n_mels=bands, fmin=low_hz, htk=True, norm="slaney"
    )
    slaney /= slaney.sum(1, keepdims=True).clip(1e-9)
    np.testing.assert_allclose(found[filled], slaney[filled], atol=2e-4)


def test_every_filter_averages():
    bank = mel_filterbank(16_000, 256, 80)
    torch.testing.assert_close(bank.sum(1), torch.ones(80))
    assert (bank >= 0.0).all()


def test_mels_are_librosas():
    hertz = torch.tensor([0.0, 100.0, 1000.0, 8000.0])
    np.testing.assert_allclose(
        hertz_to_mel(hertz), librosa.hz_to_mel(hertz.numpy(), htk=True), rtol=1e-5
    )


def test_a_sine_is_loud_in_its_band():
    time = torch.arange(8000) / 16_000
    sine = torch.sin(2 * torch.pi * 1000.0 * time)[None]
    mel = log_mel(sine, 16_000, 512, 200, 80)
    assert mel.shape == (1, 40, 80)
    centres = librosa.mel_frequencies(82, fmin=0, fmax=8000, htk=True)[1:-1]
    assert abs(centres[int(mel[0, 20].argmax())] - 1000.0) < 40.0
    assert log_mel(torch.zeros(1, 400), 16_000, 512, 200, 80).max() == pytest.approx(np.log(1e-5))


def test_training_works_after_inference():
    """Windows and filters are cached: those made in inference mode must not end up in a graph."""
    with torch.inference_mode():
        log_mel(_noise(1, 1500), 16_000, 500, 150, 17)
        istft(stft(_noise(1, 1500), 500, 150), 500, 150)
    waveform = _noise(1, 1500).requires_grad_()
    istft(stft(waveform, 500, 150), 500, 150).square().sum().backward()
    log_mel(waveform, 16_000, 500, 150, 17).sum().backward()
    assert waveform.grad.isfinite().all()


def test_compression_keeps_phase():
    spectrum = torch.complex(_noise(5), _noise(5, seed=1))
    parts = torch.view_as_complex(compress(spectrum, 0.3))
    torch.testing.assert_close(parts.angle(), spectrum.angle(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(parts.abs(), spectrum.abs() ** 0.3, rtol=1e-3, atol=1e-4)
    silent = torch.zeros(3, dtype=torch.complex64, requires_grad=True)
    compress(silent).sum().backward()
    assert silent.grad.isfinite().all()


@pytest.mark.parametrize(
    "distance",
    [lambda a, b: multi_resolution_mel_distance(a, b, 16_000), compressed_complex_distance],
)
def test_distances_vanish_at_the_reference_and_grow_with_noise(distance):
    reference = 0.1 * _noise(2, 4100)
    noise = 0.1 * _noise(2, 4100, seed=1)
    assert distance(reference, reference) == 0.0
    small, large = distance(reference + 0.1 * noise, reference), distance(noise, reference)
    assert 0.0 < small < large
    produced = (reference + noise).requires_grad_()
    distance(produced, reference).backward()
    assert produced.grad.isfinite().all()
    assert produced.grad.abs().sum() > 0.0


def test_the_mel_distance_measures_level_in_nepers():
    reference = _noise(1, 8192)
    halved = multi_resolution_mel_distance(0.5 * reference, reference, 16_000)
    assert halved.item() == pytest.approx(np.log(2.0), rel=0.01)


def test_the_mel_distance_ignores_phase_and_the_complex_one_does_not():
    reference = _noise(1, 8192)
    assert multi_resolution_mel_distance(-reference, reference, 16_000) < 1e-5
    assert compressed_complex_distance(-reference, reference) > 0.1


def test_phases_may_count_for_low_frequencies_and_chosen_items_alone():
    reference = _noise(2, 8192)
    turned = -reference
    fine = compressed_complex_distance(turned, reference)
    assert compressed_complex_distance(turned, reference, phase_share=0.0) < 1e-6
    low = compressed_complex_distance(turned, reference, phase_share=0.25)
    assert low.item() == pytest.approx(0.25 * fine.item(), rel=0.05)
    one = compressed_complex_distance(turned, reference, phases=torch.tensor([True, False]))
    assert one.item() == pytest.approx(0.5 * fine.item(), rel=0.05)


def test_an_unforeseen_phase_softens_what_the_complex_distance_trains():
    """The best level for sounds of the right spectrum and any phase; magnitudes leave it be."""
    reference, produced = _noise(8, 16_384), _noise(8, 16_384, seed=1)

    def best_gain(phase_share: float) -> float:
        gains = torch.linspace(0.3, 1.5, 25)
        distances = [
            compressed_complex_distance(gain * produced, reference, phase_share=phase_share)
            for gain in gains
        ]
        return float(gains[int(torch.stack(distances).argmin())])

    assert best_gain(1.0) < 0.5
    assert best_gain(0.0) == pytest.approx(1.0, abs=0.15)
