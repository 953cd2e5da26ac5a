"""Pictures of speech, drawn without a display."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from parlando.contracts import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from parlando.speech import Speech

SUFFIXES = (".png", ".pdf", ".svg")
_WINDOW_SAMPLES = 1024
_MEL_BANDS = 80
_INCHES_PER_SECOND = 2.0
_WIDEST_INCHES = 60.0


@dataclass(frozen=True, kw_only=True, eq=False)
class AlignedSound:
    """A recording and its phonemes."""

    title: str
    """What stands above the picture."""
    samples: np.ndarray
    """``(S,)`` float32 in [-1, 1]."""
    rate_hz: int
    """Sampling rate."""
    hop_samples: int
    """Samples per frame of the mel spectrogram."""
    phonemes: tuple[str, ...]
    """``N`` symbols."""
    durations: tuple[float, ...]
    """Seconds of each."""


def check_writable(path: str | Path) -> Path:
    """Refuse a target that a picture could not be written to, before any work is done.

    Raises:
        ConfigError: The suffix is unknown, or the folder is missing or not writable.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"{path}: unknown picture format; use one of {', '.join(SUFFIXES)}")
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise ConfigError(f"{path}: cannot be written there; choose another file for the picture")
    return path


def plot_speech(speech: "Speech", path: str | Path) -> None:
    """Draw waveform, mel spectrogram, F0 and phoneme spans on one time axis.

    Args:
        speech: What was spoken.
        path: Target; png, pdf or svg by its suffix, written whole or not at all.

    Raises:
        ConfigError: The target cannot be written.
    """
    sound = AlignedSound(
        title=f"{speech.system}, seed {speech.seed} (synthetic speech)",
        samples=speech.samples,
        rate_hz=speech.rate_hz,
        hop_samples=speech.hop_samples,
        phonemes=speech.phonemes,
        durations=speech.durations,
    )
    _draw(sound, path, speech.f0_hz)


def plot_alignment(sound: AlignedSound, path: str | Path) -> None:
    """Draw waveform, mel spectrogram and phoneme spans of a recording on one time axis.

    Args:
        sound: the recording.
        path: Target, as for :func:`plot_speech`.

    Raises:
        ConfigError: The target cannot be written.
    """
    _draw(sound, path, None)


def _draw(sound: AlignedSound, path: str | Path, f0_hz: np.ndarray | None) -> None:
    from matplotlib.figure import Figure

    path = check_writable(path)
    seconds = len(sound.samples) / sound.rate_hz
    width = float(np.clip(seconds * _INCHES_PER_SECOND, 8.0, _WIDEST_INCHES))
    figure = Figure(figsize=(width, 7.0), layout="constrained")
    heights = (2, 4, 1) if f0_hz is None else (2, 4, 1, 2)
    axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    _draw_waveform(axes[0], sound)
    _draw_mel(axes[1], sound)
    _draw_phonemes(axes[2], sound)
    if f0_hz is not None:
        _draw_f0(axes[3], sound, f0_hz)
    axes[0].set_xlim(0.0, seconds)
    axes[-1].set_xlabel("seconds")
    axes[0].set_title(sound.title, fontsize=9)

    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        figure.savefig(partial, format=path.suffix[1:].lower(), dpi=100)
        os.replace(partial, path)
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be written ({error.strerror}); choose another"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def _draw_waveform(axes: "Axes", sound: AlignedSound) -> None:
    seconds = np.arange(len(sound.samples)) / sound.rate_hz
    axes.plot(seconds, sound.samples, linewidth=0.4)
    axes.set(ylabel="amplitude", ylim=(-1.0, 1.0))


def _draw_mel(axes: "Axes", sound: AlignedSound) -> None:
    import torch

    from parlando.audio.spectrogram import log_mel

    whole = len(sound.samples) // sound.hop_samples * sound.hop_samples
    waveform = torch.from_numpy(sound.samples[:whole].copy())[None]
    mel = log_mel(waveform, sound.rate_hz, _WINDOW_SAMPLES, sound.hop_samples, _MEL_BANDS)
    axes.imshow(
        mel[0].T.numpy(),
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        extent=(0.0, whole / sound.rate_hz, 0.0, float(_MEL_BANDS)),
    )
    axes.set_ylabel("mel band")


def _draw_f0(axes: "Axes", sound: AlignedSound, f0_hz: np.ndarray) -> None:
    seconds = (np.arange(len(f0_hz)) + 0.5) * sound.hop_samples / sound.rate_hz
    axes.plot(seconds, np.where(f0_hz > 0.0, f0_hz, np.nan), linewidth=1.2)
    axes.set_ylabel("F0 (Hz)")


def _draw_phonemes(axes: "Axes", sound: AlignedSound) -> None:
    start = 0.0
    for index, (symbol, seconds) in enumerate(zip(sound.phonemes, sound.durations, strict=True)):
        if seconds:
            axes.axvspan(start, start + seconds, color=f"C{index % 2}", alpha=0.25, linewidth=0)
            axes.text(start + seconds / 2, 0.5, symbol, ha="center", va="center", fontsize=8)
        start += seconds
    axes.set(ylim=(0.0, 1.0), yticks=[], ylabel="phonemes")
