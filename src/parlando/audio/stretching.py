"""Length, pitch and formants of a recorded voice, changed without a vocoder."""

import numpy as np

from parlando.audio.waveform import resample


def shift_voice(samples: np.ndarray, rate_hz: int, factor: float) -> np.ndarray:
    """Move pitch and formants together, and no sound in time.

    Args:
        samples: ``(S,)``.
        rate_hz: sampling rate.
        factor: ratio of pitch and formants to the recorded ones, 0.5 to 2.

    Returns:
        ``(S,)`` float32.
    """
    if factor == 1.0:
        return samples.astype(np.float32)
    shifted = stretch_time(resample(samples, rate_hz * factor, rate_hz), rate_hz, factor)
    return np.pad(shifted, (0, max(0, len(samples) - len(shifted))))[: len(samples)]


def stretch_time(samples: np.ndarray, rate_hz: int, ratio: float) -> np.ndarray:
    """Change duration and keep pitch, by overlap-add of similar waveforms.

    Source: Verhelst and Roelands 1993 (WSOLA), 30 ms windows, search of 8 ms to both sides.

    Args:
        samples: ``(S,)``.
        rate_hz: sampling rate.
        ratio: new length over old, 0.5 to 2.

    Returns:
        ``(round(S * ratio),)`` float32.
    """
    length = round(len(samples) * ratio)
    half = round(rate_hz * 0.015)
    reach = round(rate_hz * 0.008)
    if length == len(samples):
        return samples.astype(np.float32)
    if len(samples) < 4 * half:
        # Less than two windows: there is nothing to overlap.
        return np.pad(samples, (0, max(0, length - len(samples))))[:length].astype(np.float32)
    window = 0.5 - 0.5 * np.cos(np.pi * np.arange(2 * half) / half)
    source = np.pad(samples.astype(np.float64), (half + reach, 3 * half + 2 * reach))
    count = length // half + 2
    output = np.zeros((count + 1) * half)
    position = 0
    for index in range(count):
        ideal = min(round(index * half / ratio), len(samples))
        start = half + reach + ideal - half
        if index:
            # What would have followed the last piece naturally; the best match continues it.
            natural = source[position + half : position + 3 * half]
            region = source[start - reach : start + reach + 2 * half]
            start += int(np.argmax(np.correlate(region, natural, "valid"))) - reach
        output[index * half : index * half + 2 * half] += source[start : start + 2 * half] * window
        position = start
    return output[half : half + length].astype(np.float32)
