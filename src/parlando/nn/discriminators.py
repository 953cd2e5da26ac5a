"""Critics of waveforms, and the adversarial losses that they give.

A critic returns a map of scores, one per region of what it looks at, and its hidden activations.
Several small critics that look at different projections of the waveform are harder to deceive
than one large one, and cheaper.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

_SLOPE = 0.1


class Verdict(NamedTuple):
    """What one critic says of a batch of waveforms."""

    score: Tensor
    """Real above 0, produced below; ``(B, 1, ...)``."""
    features: list[Tensor]
    """Hidden activations, first layer to last, each ``(B, C, ...)``."""


class CompressedSpectrum(nn.Module):
    """Short-time spectrum ``(B, 2, F, T)`` with magnitudes compressed by a power of 0.3.

    Args:
        window_samples: window and transform length; the hop is half of it.
    """

    window: Tensor

    def __init__(self, window_samples: int):
        super().__init__()
        self.window_samples = window_samples
        self.register_buffer("window", torch.hann_window(window_samples), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """Map ``(B, S)`` to real and imaginary parts; full precision even under autocast."""
        with torch.autocast(waveform.device.type, enabled=False):
            spectrum = torch.stft(
                waveform.float(),
                self.window_samples,
                self.window_samples // 2,
                window=self.window,
                normalized=True,
                return_complex=True,
            )
            parts = torch.view_as_real(spectrum)
            # The floor keeps the gradient finite where there is silence.
            energy = parts.square().sum(-1, keepdim=True) + 1e-8
            return (parts * energy.pow(-0.35)).movedim(-1, 1)


class STFTCritic(nn.Module):
    """Judge the complex short-time spectrum at one window length.

    Source: Défossez et al. 2022 (EnCodec), section 3.4. Deviations: magnitudes are compressed by a
    power of 0.3, so that quiet speech is judged as severely as loud speech, and time and
    frequency are strided early, where the published critic strides frequency only, and late.

    Args:
        window_samples: window and transform length, a multiple of four; the hop is half of it.
        width: channels of the first layer; later ones have 2, 4 and 4 times as many.
    """

    def __init__(self, window_samples: int, width: int = 8):
        super().__init__()
        self.spectrum = CompressedSpectrum(window_samples)
        # Kernels and steps are (frequency, time).
        self.layers = nn.ModuleList(
            [
                weight_norm(nn.Conv2d(2, width, (7, 3), (2, 1), (3, 1))),
                weight_norm(nn.Conv2d(width, 2 * width, (5, 3), (2, 2), (2, 1))),
                weight_norm(nn.Conv2d(2 * width, 4 * width, (5, 3), (2, 2), (2, 1))),
                weight_norm(nn.Conv2d(4 * width, 4 * width, 3, padding=1)),
            ]
        )
        self.output = weight_norm(nn.Conv2d(4 * width, 1, 3, padding=1))

    def forward(self, waveform: Tensor) -> Verdict:
        """Judge ``(B, S)``, ``S`` more than half a window; scores are ``(B, 1, F', T')``."""
        return _pass_through(self.layers, self.output, self.spectrum(waveform))


class BandCritic(nn.Module):
    """Judge the complex short-time spectrum at one window length, band by band.

    Source: Kumar et al. 2023 (DAC), section 3.4: bands apart, so that a loud one does not hide the
    faults of another. Deviations: magnitudes are compressed as by :class:`STFTCritic`; the bands'
    scores are joined along the frequencies.

    Args:
        window_samples: window and transform length, a multiple of four; the hop is half of it.
        width: channels of every layer.
        edges: inner limits of the bands, as shares of the highest frequency.
    """

    def __init__(
        self,
        window_samples: int,
        width: int = 32,
        edges: Sequence[float] = (0.1, 0.25, 0.5, 0.75),
    ):
        super().__init__()
        self.spectrum = CompressedSpectrum(window_samples)
        bins = window_samples // 2 + 1
        self.limits = [0, *(round(edge * bins) for edge in edges), bins]
        # Kernels and steps are (frequency, time).
        self.bands = nn.ModuleList(
            nn.ModuleList(
                [
                    weight_norm(nn.Conv2d(2, width, (9, 3), padding=(4, 1))),
                    *(
                        weight_norm(nn.Conv2d(width, width, (9, 3), (2, 1), (4, 1)))
                        for _ in range(3)
                    ),
                    weight_norm(nn.Conv2d(width, width, 3, padding=1)),
                ]
            )
            for _ in range(len(edges) + 1)
        )
        self.output = weight_norm(nn.Conv2d(width, 1, 3, padding=1))

    def forward(self, waveform: Tensor) -> Verdict:
        """Judge ``(B, S)``, ``S`` more than half a window; scores are ``(B, 1, F', T')``."""
        spectrum = self.spectrum(waveform)
        scores, features = [], []
        for layers, low, high in zip(self.bands, self.limits[:-1], self.limits[1:], strict=True):
            verdict = _pass_through(
                cast(nn.ModuleList, layers), self.output, spectrum[:, :, low:high]
            )
            scores.append(verdict.score)
            features += verdict.features
        return Verdict(torch.cat(scores, dim=2), features)


class PeriodCritic(nn.Module):
    """Judge every ``period``-th sample along one axis, and the phases of the period along another.

    Source: Kong et al. 2020 (HiFi-GAN), section 2.3.

    Args:
        period: distance of the samples that are seen side by side; prime numbers overlap least.
        width: channels of the first layer; later ones have 4, 16, 32 and 32 times as many.
    """

    def __init__(self, period: int, width: int = 32):
        super().__init__()
        self.period = period
        channels = [1, width, 4 * width, 16 * width, 32 * width, 32 * width]
        steps = [3, 3, 3, 3, 1]
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(inner, outer, (5, 1), (step, 1), (2, 0)))
            for inner, outer, step in zip(channels[:-1], channels[1:], steps, strict=True)
        )
        self.output = weight_norm(nn.Conv2d(channels[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, waveform: Tensor) -> Verdict:
        """Judge ``(B, S)``, ``S`` at least two periods; scores are ``(B, 1, S', period)``."""
        missing = -waveform.shape[-1] % self.period
        padded = F.pad(waveform[:, None], (0, missing), mode="reflect")
        return _pass_through(self.layers, self.output, padded.unflatten(-1, (-1, self.period)))


class Critics(nn.Module):
    """Several critics of one waveform.

    Args:
        windows_samples: one :class:`STFTCritic` for each window length.
        width: channels of each STFT critic's first layer. With the defaults, judging in both
            phases of a step took as long as the whole step of a spectral codec of 7M parameters
            (bfloat16, one CPU thread: 0.21 s each for 12 waveforms of 0.8 s).
        periods: one :class:`PeriodCritic` of the published width for each period. Eight million
            parameters each: for accelerators.
        bands: judge spectra band by band, by a :class:`BandCritic` for each window length.
    """

    def __init__(
        self,
        windows_samples: Sequence[int] = (1024, 512, 256),
        width: int = 8,
        periods: Sequence[int] = (),
        bands: bool = False,
    ):
        super().__init__()
        spectral = BandCritic if bands else STFTCritic
        self.critics = nn.ModuleList(
            [
                *(spectral(window, width) for window in windows_samples),
                *(PeriodCritic(period) for period in periods),
            ]
        )

    def forward(self, waveform: Tensor) -> list[Verdict]:
        """Judge ``(B, S)``, one verdict per critic."""
        return [critic(waveform) for critic in self.critics]


def discriminator_loss(produced: Sequence[Verdict], reference: Sequence[Verdict]) -> Tensor:
    """Compute the hinge loss of the critics: real above 1, produced below -1.

    Source: Zeghidour et al. 2021 (SoundStream), section III-E.

    Args:
        produced: verdicts on produced waveforms, detached from the generator.
        reference: verdicts on real waveforms.

    Returns:
        scalar, the mean over critics; 2 where they know nothing, 0 where they always win.
    """
    return _mean(
        F.relu(1.0 + fake.score.float()).mean() + F.relu(1.0 - real.score.float()).mean()
        for fake, real in zip(produced, reference, strict=True)
    )


def adversarial_loss(produced: Sequence[Verdict]) -> Tensor:
    """Compute the hinge loss of the generator: its products should score above 1.

    Source: Zeghidour et al. 2021 (SoundStream), section III-E.

    Args:
        produced: verdicts on produced waveforms.

    Returns:
        scalar, the mean over critics.
    """
    return _mean(F.relu(1.0 - verdict.score.float()).mean() for verdict in produced)


def feature_matching_loss(produced: Sequence[Verdict], reference: Sequence[Verdict]) -> Tensor:
    """Compute the L1 distance of hidden activations relative to the size of the reference's.

    Source: Défossez et al. 2022 (EnCodec), section 3.4. The ratio makes layers and critics of any
    width count alike.

    Args:
        produced: verdicts on produced waveforms.
        reference: verdicts on the waveforms that they should equal; no gradient flows there.

    Returns:
        scalar, the mean over layers and critics; 0 for identical waveforms.
    """
    return _mean(
        _relative_distance(fake, real.detach())
        for one, other in zip(produced, reference, strict=True)
        for fake, real in zip(one.features, other.features, strict=True)
    )


def _pass_through(layers: Iterable[nn.Module], output: nn.Module, x: Tensor) -> Verdict:
    features = []
    for layer in layers:
        x = F.leaky_relu(layer(x), _SLOPE)
        features.append(x)
    return Verdict(output(x), features)


def _relative_distance(produced: Tensor, reference: Tensor) -> Tensor:
    size = reference.float().abs().mean().clamp_min(1e-5)
    return (produced.float() - reference.float()).abs().mean() / size


def _mean(values: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(values)).mean()
