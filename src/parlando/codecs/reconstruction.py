"""What every codec is trained by: distances of spectra, and critics of what it produces."""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import functional_call

from parlando.audio.distance import compressed_complex_distance, multi_resolution_mel_distance
from parlando.contracts import PhaseResult
from parlando.nn.discriminators import (
    Critics,
    adversarial_loss,
    discriminator_loss,
    feature_matching_loss,
)

_MEL_WINDOWS = (256, 512, 1024, 2048)
_MEL_BANDS = (20, 40, 80, 160)
_COMPLEX_WINDOWS = (320, 640)


class Reconstruction(NamedTuple):
    """What the generator phase hands to the discriminator phase, both ``(B, S)``, detached."""

    produced: Tensor
    reference: Tensor


def sampled_distances(
    produced: Tensor,
    reference: Tensor,
    rate_hz: int,
    *,
    phase_hz: float = math.inf,
    phases: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Compute the mel and the complex distance of ``(B, S)`` at one random window each.

    One window a step instead of all: the same gradient on average, for a quarter of the cost.

    Args:
        produced: ``(B, S)``.
        reference: ``(B, S)``.
        rate_hz: sampling rate.
        phase_hz: frequency below which the complex distance compares phases; above, magnitudes.
        phases: ``(B,)`` items in which it does; none: all.
    """
    mel = int(torch.randint(len(_MEL_WINDOWS), ()))
    fine = int(torch.randint(len(_COMPLEX_WINDOWS), ()))
    with torch.autocast(produced.device.type, enabled=False):
        return (
            multi_resolution_mel_distance(
                produced, reference, rate_hz, (_MEL_WINDOWS[mel],), (_MEL_BANDS[mel],)
            ),
            compressed_complex_distance(
                produced,
                reference,
                (_COMPLEX_WINDOWS[fine],),
                phase_share=_phase_share(phase_hz, rate_hz),
                phases=phases,
            ),
        )


def distances(
    produced: Tensor, reference: Tensor, rate_hz: int, *, phase_hz: float = math.inf
) -> dict[str, float]:
    """Return ``mel`` (nepers) and ``complex`` of ``(B, S)`` with all windows."""
    mel = multi_resolution_mel_distance(produced, reference, rate_hz, _MEL_WINDOWS, _MEL_BANDS)
    share = _phase_share(phase_hz, rate_hz)
    fine = compressed_complex_distance(produced, reference, _COMPLEX_WINDOWS, phase_share=share)
    return {"mel": float(mel), "complex": float(fine)}


def adversarial_losses(
    critics: Critics, produced: Tensor, reference: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute the adversarial and the feature-matching loss of ``(B, S)``; critics keep none."""
    # Detached weights: the critics pass gradients on and keep none.
    frozen = {name: weight.detach() for name, weight in critics.named_parameters()}
    judged = functional_call(critics, frozen, (produced,))
    with torch.no_grad():
        expected = functional_call(critics, frozen, (reference,))
    return adversarial_loss(judged), feature_matching_loss(judged, expected)


def discriminate(critics: Critics, heard: Reconstruction, learns: bool) -> PhaseResult:
    """Run the discriminator phase; while the critics wait, its loss is zero."""
    if not learns:
        # Zero, but of the parameters: the loop differentiates whatever a phase returns.
        idle = torch.stack([weight.sum() for weight in critics.parameters()]).sum() * 0.0
        return PhaseResult(losses={"discriminator": idle})
    judged, expected = critics(heard.produced), critics(heard.reference)
    return PhaseResult(losses={"discriminator": discriminator_loss(judged, expected)})


def _phase_share(phase_hz: float, rate_hz: int) -> float:
    return min(1.0, 2.0 * phase_hz / rate_hz)
