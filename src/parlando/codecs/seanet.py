"""The published kind of backbone of codecs: strided convolutions on the samples.

The encoder halves nothing but time: every block multiplies the channels by two and divides the
rate by its stride, and the decoder mirrors it. Both keep lengths exact, ``T * hop`` samples for
``T`` frames, for odd strides too.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from parlando.contracts import ConfigError

_DILATIONS = (1, 3, 9)


class Snake(nn.Module):
    """Periodic activation ``x + sin²(a x) / a`` with one learnt frequency per channel.

    Source: Ziyin et al. 2020, equation 3. Choice: NaturalSpeech 2 names no activation; Snake over
    SEANet's ELU because voiced speech is periodic and this bias raised the fidelity of a codec of
    the same shape in the ablations of DAC (Kumar et al. 2023). The logarithm of the
    frequency is learnt, so that it stays positive.

    Args:
        channels: number of channels.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.log_frequency = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, S)`` to ``(B, C, S)``."""
        # In the precision of x: these are the largest activations of the codec.
        frequency = self.log_frequency.exp().to(x.dtype)[:, None]
        return x + (frequency * x).sin().square() / frequency


class ResidualUnit(nn.Module):
    """Dilated convolution and a pointwise one around an identity.

    Source: Zeghidour et al. 2021 (SoundStream), figure 3.

    Args:
        channels: number of channels.
        dilation: spacing of the seven taps in samples.
    """

    def __init__(self, channels: int, dilation: int):
        super().__init__()
        self.layers = nn.Sequential(
            Snake(channels),
            weight_norm(nn.Conv1d(channels, channels, 7, dilation=dilation, padding=3 * dilation)),
            Snake(channels),
            weight_norm(nn.Conv1d(channels, channels, 1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, S)`` to ``(B, C, S)``."""
        return x + self.layers(x)


class SEANetEncoder(nn.Module):
    """Waveform to latents by strided convolutions.

    Source: NaturalSpeech 2, section 3.1 (SoundStream's encoder, down-sampling 200); strides as in
    FACodec. Deviation: not causal, because synthesis is not.

    Args:
        strides: down-sampling factors, first to last; their product is the hop.
        width: channels of the first layer, doubled at each stride.
        latent_width: width D of the latent.
    """

    def __init__(self, *, strides: Sequence[int], width: int, latent_width: int):
        super().__init__()
        self.hop_samples = math.prod(strides)
        channels = [width << index for index in range(len(strides) + 1)]
        layers: list[nn.Module] = [_level_convolution(1, width, 7, padding=3)]
        for (inner, outer), stride in zip(pairwise(channels), strides, strict=True):
            layers += [ResidualUnit(inner, dilation) for dilation in _DILATIONS]
            layers += [
                Snake(inner),
                # Kernel 2s, step s, padding ceil(s / 2): exactly S / s frames, s even or odd.
                _level_convolution(inner, outer, 2 * stride, stride, padding=math.ceil(stride / 2)),
            ]
        layers += [
            Snake(channels[-1]),
            _level_convolution(channels[-1], latent_width, 3, padding=1),
        ]
        self.layers = nn.Sequential(*layers)

    def forward(self, waveform: Tensor) -> Tensor:
        """Map ``(B, S)`` to ``(B, T, D)``, ``T = S // hop_samples``."""
        whole = waveform.shape[-1] // self.hop_samples * self.hop_samples
        latent: Tensor = self.layers(waveform[:, None, :whole]).transpose(1, 2)
        return latent


class SEANetDecoder(nn.Module):
    """Latents to waveform, the mirror of :class:`SEANetEncoder`.

    Source: NaturalSpeech 2, section 3.1.

    Args:
        strides: the encoder's strides in the encoder's order; applied here last to first.
        width: channels of the first layer, halved at each stride.
        latent_width: width D of the latent.

    Raises:
        ConfigError: if ``width`` cannot be halved once per stride.
    """

    def __init__(self, *, strides: Sequence[int], width: int, latent_width: int):
        super().__init__()
        if width % (1 << len(strides)):
            raise ConfigError(
                f"a seanet decoder_width of {width} cannot be halved {len(strides)} times;"
                f" give a multiple of {1 << len(strides)}"
            )
        channels = [width >> index for index in range(len(strides) + 1)]
        layers: list[nn.Module] = [weight_norm(nn.Conv1d(latent_width, width, 3, padding=1))]
        for (inner, outer), stride in zip(pairwise(channels), reversed(strides), strict=True):
            layers += [
                Snake(inner),
                weight_norm(
                    nn.ConvTranspose1d(
                        inner,
                        outer,
                        2 * stride,
                        stride,
                        padding=math.ceil(stride / 2),
                        output_padding=stride % 2,
                    )
                ),
            ]
            layers += [ResidualUnit(outer, dilation) for dilation in _DILATIONS]
        layers.append(Snake(channels[-1]))
        self.layers = nn.Sequential(*layers)
        self.output = weight_norm(nn.Conv1d(channels[-1], 1, 7, padding=3))

    def forward(self, latent: Tensor) -> Tensor:
        """Map ``(B, T, D)`` to ``(B, T * hop_samples)`` in [-1, 1]."""
        x = self.layers(latent.transpose(1, 2))
        # Samples rounded to bfloat16 would hiss: the last layer runs in full precision.
        with torch.autocast(x.device.type, enabled=False):
            waveform: Tensor = self.output(x.float())[:, 0].tanh()
        return waveform


def _level_convolution(
    inner: int, outer: int, kernel: int, stride: int = 1, *, padding: int
) -> nn.Module:
    """Build a convolution that at first keeps the variance of white input.

    PyTorch's own initial weights divide it by three a layer. Latents so small drown in the unit
    noise of the autoencoder's stage, and the decoder first learns to ignore them.
    """
    convolution = nn.Conv1d(inner, outer, kernel, stride, padding)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="linear")
    return weight_norm(convolution)
