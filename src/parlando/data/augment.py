"""New voices from recorded ones: pitch and formants move together, tempo apart from them.

Resampling by a factor shifts pitch and formants alike, which is what a longer or shorter vocal
tract with other vocal folds does, and loses nothing but bandwidth; a vocoder's analysis and
resynthesis would teach the codec and the voice model its own sound.
"""

import hashlib
from dataclasses import dataclass

import numpy as np

from parlando.audio.stretching import shift_voice, stretch_time
from parlando.audio.waveform import resample

LOWEST_FACTOR = 0.85
HIGHEST_FACTOR = 1.18

DISGUISE_FACTORS = (0.75, 1.33)
"""Lowest and highest ratio of pitch and formants in a disguise."""
EQUALIZER_DB, EQUALIZER_POINTS = 10.0, 9
"""Range of the gains of a disguise to both sides, and their number."""


@dataclass(frozen=True, kw_only=True)
class Voice:
    """How a new voice differs from the recorded one."""

    name: str
    """Suffix of the new speaker's name and of its utterances' ids."""
    factor: float
    """Ratio of pitch and formants to the recorded ones."""
    tempo: float
    """Speaking rate relative to the recorded one."""


def voices_of(speaker: str, count: int) -> list[Voice]:
    """Draw the new voices of a speaker, the same ones for all its recordings and on every run.

    Factors lie on both sides of 1 in turn, between 1.06 and 1.18 or 0.85 and 0.94, since a smaller
    step is heard as the same person; tempo within 8 %.

    Args:
        speaker: name of the recorded speaker.
        count: number of voices.
    """
    voices = []
    for index in range(count):
        digest = hashlib.sha256(f"{speaker}/{index}".encode()).digest()
        rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
        raised = (len(speaker) + index) % 2
        low, high = (1.06, HIGHEST_FACTOR) if raised else (LOWEST_FACTOR, 0.94)
        factor, tempo = rng.uniform(low, high), rng.uniform(0.92, 1.08)
        voices.append(Voice(name=f"v{index + 1}", factor=round(factor, 3), tempo=round(tempo, 3)))
    return voices


def change_voice(samples: np.ndarray, rate_hz: int, voice: Voice) -> np.ndarray:
    """Speak a recording in a new voice.

    Args:
        samples: ``(S,)``.
        rate_hz: sampling rate.
        voice: the new voice.

    Returns:
        ``(S / tempo,)``, about, float32.
    """
    shifted = resample(samples, rate_hz * voice.factor, rate_hz)
    return stretch_time(shifted, rate_hz, voice.factor / voice.tempo)


def disguise(samples: np.ndarray, rate_hz: int, rng: np.random.Generator) -> np.ndarray:
    """Hide who speaks, frame for frame: the same words and tune in a voice nobody has.

    Source: Choi et al. 2021 (NANSY), section 3.1: formants, pitch and frequency response are
    changed at random. Formants and pitch go together here.

    Args:
        samples: ``(S,)``.
        rate_hz: sampling rate.
        rng: where the voice is drawn from.

    Returns:
        ``(S,)`` float32, as loud as it was.
    """
    low, high = np.log(DISGUISE_FACTORS)
    factor = float(np.exp(rng.uniform(low, high)))
    changed = shift_voice(samples, rate_hz, factor)
    gains_db = rng.uniform(-EQUALIZER_DB, EQUALIZER_DB, EQUALIZER_POINTS)
    coloured = equalize(changed, rate_hz, gains_db)
    level, own = (float(np.sqrt(np.mean(np.square(x)))) for x in (samples, coloured))
    return (coloured * (level / max(own, 1e-9))).astype(np.float32)


def equalize(samples: np.ndarray, rate_hz: int, gains_db: np.ndarray) -> np.ndarray:
    """Colour a sound: gains at frequencies from 60 Hz to half the rate, evenly by their logarithm.

    Between them the gain in dB is linear in the logarithm of frequency; phases stay.

    Args:
        samples: ``(S,)``.
        rate_hz: sampling rate.
        gains_db: ``(P,)``, two or more.

    Returns:
        ``(S,)`` float32.
    """
    points = np.geomspace(60.0, rate_hz / 2, len(gains_db))
    # What lies before the sound and after it must not wrap around.
    count = len(samples) + 1024
    frequency = np.fft.rfftfreq(count, 1.0 / rate_hz)
    gain_db = np.interp(np.log(np.maximum(frequency, 1.0)), np.log(points), gains_db)
    spectrum = np.fft.rfft(samples, count) * 10.0 ** (gain_db / 20.0)
    return np.fft.irfft(spectrum, count)[: len(samples)].astype(np.float32)
