"""How well a codec gives back what went in, and at what price in bits."""

import warnings

import numpy as np

from parlando.contracts import AudioError


def _check_pair(reference: np.ndarray, degraded: np.ndarray) -> None:
    if reference.ndim != 1 or reference.shape != degraded.shape:
        raise AudioError(
            f"got shapes {reference.shape} and {degraded.shape}; a reconstruction is compared "
            "with a mono original of the same length: cut both to whole frames"
        )


def wideband_pesq(reference: np.ndarray, degraded: np.ndarray, rate_hz: int) -> float:
    """Predict the listening quality of a degraded recording, 1.0 to 4.64.

    Source: ITU-T P.862.2 (wideband MOS-LQO), by the package ``pesq``. Narrowband P.862 figures
    are on another scale.

    Args:
        reference: ``(S,)`` original.
        degraded: ``(S,)`` after the codec, time-aligned.
        rate_hz: 16,000.

    Raises:
        AudioError: on another rate or shape, or if there is no speech to judge.
    """
    from pesq import BufferTooShortError as TooShortError
    from pesq import NoUtterancesError, pesq

    _check_pair(reference, degraded)
    if rate_hz != 16_000:
        raise AudioError(f"got {rate_hz} Hz; wideband PESQ needs 16000 Hz: resample first")
    try:
        return float(pesq(rate_hz, reference, degraded, "wb"))
    except (NoUtterancesError, TooShortError) as error:
        seconds = len(reference) / rate_hz
        raise AudioError(f"PESQ finds no speech in {seconds:.2f} s of sound") from error


def short_time_intelligibility(reference: np.ndarray, degraded: np.ndarray, rate_hz: int) -> float:
    """Predict how intelligible a degraded recording is: STOI, about 0 to 1.

    Source: Taal et al., 2011, by the package ``pystoi`` (not the extended variant).

    Args:
        reference: ``(S,)`` original.
        degraded: ``(S,)`` after the codec, time-aligned.
        rate_hz: any; the measure itself works at 10 kHz.

    Raises:
        AudioError: if the shapes differ, or the reference holds less than about 0.4 s of speech.
    """
    from pystoi import stoi

    _check_pair(reference, degraded)
    with warnings.catch_warnings():
        # It warns and returns 1e-5, which would pass for a figure.
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return float(stoi(reference, degraded, rate_hz, extended=False))
        except RuntimeWarning as warning:
            seconds = len(reference) / rate_hz
            raise AudioError(
                f"STOI finds too little speech in {seconds:.2f} s of sound"
            ) from warning


def bits_per_second(levels: int, codebook_size: int, rate_hz: int, hop_samples: int) -> float:
    """Compute the bit rate of code stacks without entropy coding."""
    return float(levels * np.log2(codebook_size) * rate_hz / hop_samples)


def perplexity(counts: np.ndarray) -> float:
    """Compute the exponential of the entropy of a histogram.

    Args:
        counts: ``(K,)`` non-negative, of positive sum.
    """
    shares = counts[counts > 0] / counts.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))
