"""Sound that passes for speech, made of sines: harmonics in syllables."""

import numpy as np

from parlando.audio.pitch import f0


def speechlike(seconds: float, rate_hz: int = 16_000, pitch_hz: float = 120.0) -> np.ndarray:
    """Four syllables a second, each with a dip of 30 dB after it; peaks near 0.4."""
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    tone = sum(np.sin(2 * np.pi * pitch_hz * k * time) / k for k in range(1, 16))
    rhythm = 0.03 + 0.97 * np.clip(np.sin(2 * np.pi * 4.0 * time) + 0.6, 0.0, 1.0)
    return (0.2 * tone * rhythm).astype(np.float32)


def padded(samples: np.ndarray, before: float, after: float, rate_hz: int = 16_000) -> np.ndarray:
    """Put silence, with noise at -70 dB, before and after."""
    noise = np.random.default_rng(0)
    ends = [3e-4 * noise.standard_normal(round(seconds * rate_hz)) for seconds in (before, after)]
    return np.concatenate([ends[0], samples, ends[1]]).astype(np.float32)


def median_pitch(samples: np.ndarray) -> float:
    """Measure the pitch, in hertz, of samples at 16 kHz that are voiced for the most part."""
    hertz, voiced = f0(samples, 16_000, 200)
    assert voiced.mean() > 0.5
    return float(np.median(hertz[voiced]))
