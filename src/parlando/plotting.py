"""Pictures of speech, drawn without a display."""

import contextlib
import os
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
    from matplotlib.figure import Figure

    path = check_writable(path)
    width = float(np.clip(speech.duration_seconds * _INCHES_PER_SECOND, 8.0, _WIDEST_INCHES))
    figure = Figure(figsize=(width, 7.0), layout="constrained")
    axes = figure.subplots(4, 1, sharex=True, height_ratios=(2, 4, 2, 1))
    _draw_waveform(axes[0], speech)
    _draw_mel(axes[1], speech)
    _draw_f0(axes[2], speech)
    _draw_phonemes(axes[3], speech)
    axes[0].set_xlim(0.0, speech.duration_seconds)
    axes[-1].set_xlabel("seconds")
    axes[0].set_title(f"{speech.system}, seed {speech.seed} (synthetic speech)", fontsize=9)

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


def _draw_waveform(axes: "Axes", speech: "Speech") -> None:
    seconds = np.arange(len(speech.samples)) / speech.rate_hz
    axes.plot(seconds, speech.samples, linewidth=0.4)
    axes.set(ylabel="amplitude", ylim=(-1.0, 1.0))


def _draw_mel(axes: "Axes", speech: "Speech") -> None:
    import torch

    from parlando.audio.spectrogram import log_mel

    whole = len(speech.samples) // speech.hop_samples * speech.hop_samples
    waveform = torch.from_numpy(speech.samples[:whole].copy())[None]
    mel = log_mel(waveform, speech.rate_hz, _WINDOW_SAMPLES, speech.hop_samples, _MEL_BANDS)
    axes.imshow(
        mel[0].T.numpy(),
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        extent=(0.0, whole / speech.rate_hz, 0.0, float(_MEL_BANDS)),
    )
    axes.set_ylabel("mel band")


def _draw_f0(axes: "Axes", speech: "Speech") -> None:
    seconds = (np.arange(len(speech.f0_hz)) + 0.5) * speech.hop_samples / speech.rate_hz
    axes.plot(seconds, np.where(speech.f0_hz > 0.0, speech.f0_hz, np.nan), linewidth=1.2)
    axes.set_ylabel("F0 (Hz)")


def _draw_phonemes(axes: "Axes", speech: "Speech") -> None:
    start = 0.0
    for index, (symbol, seconds) in enumerate(zip(speech.phonemes, speech.durations, strict=True)):
        if seconds:
            axes.axvspan(start, start + seconds, color=f"C{index % 2}", alpha=0.25, linewidth=0)
            axes.text(start + seconds / 2, 0.5, symbol, ha="center", va="center", fontsize=8)
        start += seconds
    axes.set(ylim=(0.0, 1.0), yticks=[], ylabel="phonemes")
