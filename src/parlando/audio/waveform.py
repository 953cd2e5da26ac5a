"""Sound files in and out, where speech is in them, and what makes a usable voice prompt.

soundfile and soxr are imported when a file is read or written, so that a training machine without
them can use the rest.
"""

import contextlib
import itertools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from parlando.audio.voicing import has_voice
from parlando.contracts import AudioError, PromptError

RATE_HZ = 16_000
PROMPT_MAXIMUM_SECONDS = 30.0
PROMPT_MINIMUM_SPEECH_SECONDS = 1.0
LOUDNESS_DB = -23.0
"""Level of speech that prompts and training data share: RMS over active frames, dB full scale."""

_ENCODINGS = {
    ".wav": ("WAV", "PCM_16"),
    ".flac": ("FLAC", "PCM_16"),
    ".ogg": ("OGG", "VORBIS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
}
ACTIVITY_SECONDS = 0.01
"""Frame of :func:`voice_activity`."""
_TAGS = ("title", "comment", "software", "artist", "date", "copyright", "license")
_SILENCE_DB = -75.0
_CLIPPED_SHARE = 0.05
# libsndfile's Vorbis encoder overflows its stack when it is given minutes in one call.
_WRITE_BLOCK_SAMPLES = 1 << 16


@dataclass(frozen=True)
class Waveform:
    """Mono sound."""

    samples: np.ndarray
    """``(S,)`` float32 in [-1, 1]."""
    rate_hz: int
    """Sampling rate."""

    @property
    def duration_seconds(self) -> float:
        """Length of the sound."""
        return len(self.samples) / self.rate_hz


def load(path: str | Path, rate_hz: int | None = RATE_HZ) -> Waveform:
    """Read a sound file of any rate, width and channel count as mono at ``rate_hz``.

    Channels are averaged; wav, flac, ogg, opus and mp3 are understood.

    Args:
        path: the file.
        rate_hz: sampling rate to convert to; None keeps the file's own.

    Returns:
        the whole file.

    Raises:
        AudioError: the file is missing, a folder, empty, no sound, or holds NaN or infinity.
    """
    import soundfile

    path = Path(path)
    if not path.exists():
        raise AudioError(f"{path}: no such file; give the path of a sound file")
    if path.is_dir():
        raise AudioError(f"{path}: is a folder; give the path of a sound file")
    try:
        if path.stat().st_size == 0:
            raise AudioError(f"{path}: the file is empty; give a sound file")
        channels, source_hz = soundfile.read(str(path), dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError, RuntimeError) as error:
        reason = " ".join(str(getattr(error, "error_string", error)).split())
        raise AudioError(
            f"{path}: cannot be read as sound ({reason}); give wav, flac, ogg, opus or mp3"
        ) from error
    if not len(channels):
        raise AudioError(f"{path}: holds no samples; give a sound file of at least 1 s")
    if not np.isfinite(channels).all():
        raise AudioError(f"{path}: holds NaN or infinite samples; export the sound again")
    wanted_hz = rate_hz or source_hz
    return Waveform(resample(channels.mean(1), source_hz, wanted_hz), wanted_hz)


def resample(samples: np.ndarray, source_hz: float, target_hz: float) -> np.ndarray:
    """Convert ``(S,)`` samples from one rate to another, band-limited; returns float32."""
    import soxr

    samples = np.ascontiguousarray(samples, dtype=np.float32)
    if source_hz == target_hz:
        return samples
    return np.asarray(soxr.resample(samples, source_hz, target_hz), dtype=np.float32)


def check_writable(path: str | Path) -> Path:
    """Refuse a target that :func:`save` could not write, before minutes are spent on its content.

    Raises:
        AudioError: the suffix is unknown, or the folder is missing or not writable.
    """
    path = Path(path)
    if path.suffix.lower() not in _ENCODINGS:
        known = ", ".join(_ENCODINGS)
        raise AudioError(f"{path}: unknown sound format '{path.suffix}'; use one of {known}")
    if path.is_dir():
        raise AudioError(f"{path}: is a folder; give the path of a file to write")
    if not path.parent.is_dir():
        raise AudioError(f"{path}: there is no folder {path.parent}; make it or choose another")
    if not os.access(path.parent, os.W_OK):
        raise AudioError(f"{path}: the folder {path.parent} is not writable; choose another")
    return path


def save(
    path: str | Path,
    samples: np.ndarray,
    rate_hz: int,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write mono sound in the format of the path's suffix, whole or not at all.

    The file is written beside its target and then renamed. What was read from a file of 16 bits is
    written to wav and flac bit for bit.

    Args:
        path: target; ``.wav``, ``.flac``, ``.ogg`` or ``.mp3``.
        samples: ``(S,)`` in [-1, 1]; what lies outside is clipped.
        rate_hz: sampling rate.
        metadata: tags of :func:`synthetic_metadata`; keys title, comment, software, artist, date,
            copyright, license.

    Raises:
        AudioError: the target is not writable, or the samples are not mono, finite and present.
    """
    import soundfile

    path = check_writable(path)
    container, encoding = _ENCODINGS[path.suffix.lower()]
    samples = np.asarray(samples)
    if samples.ndim != 1 or not samples.size or not np.isfinite(samples).all():
        raise AudioError(f"{path}: got samples of shape {samples.shape}; need (S,), S > 0, finite")
    tags = dict(metadata or {})
    if unknown := set(tags) - set(_TAGS):
        raise AudioError(f"{path}: unknown metadata {sorted(unknown)}; use {', '.join(_TAGS)}")
    clipped = np.clip(samples, -1.0, 1.0).astype(np.float32)
    if encoding == "PCM_16":
        # libsndfile would scale by 32767 what it had divided by 32768.
        clipped = np.clip(np.rint(clipped * 32768.0), -32768, 32767).astype(np.int16)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with soundfile.SoundFile(
            str(partial), "w", rate_hz, 1, subtype=encoding, format=container
        ) as file:
            for key, text in tags.items():
                setattr(file, key, text)
            for start in range(0, len(clipped), _WRITE_BLOCK_SAMPLES):
                file.write(clipped[start : start + _WRITE_BLOCK_SAMPLES])
        os.replace(partial, path)
    except (soundfile.LibsndfileError, OSError, RuntimeError) as error:
        raise AudioError(f"{path}: cannot be written ({error}); choose another target") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def synthetic_metadata(
    system: str, version: str, seed: int, title: str = "", nature: str = "no recording"
) -> dict[str, str]:
    """Build the tags that every generated file carries; ``nature`` says how much is synthetic."""
    tags = {
        "comment": f"Synthetic speech, {nature}: Parlando {version}, {system}, seed {seed}",
        "software": f"Parlando {version}",
    }
    return {"title": title, **tags} if title else tags


def read_metadata(path: str | Path) -> dict[str, str]:
    """Read the tags of a sound file that are set.

    Raises:
        AudioError: the file cannot be read as sound.
    """
    import soundfile

    try:
        with soundfile.SoundFile(str(path)) as file:
            return {key: text for key in _TAGS if (text := getattr(file, key))}
    except (soundfile.LibsndfileError, OSError, RuntimeError) as error:
        raise AudioError(f"{path}: cannot be read as sound; give a sound file") from error


def voice_activity(samples: np.ndarray, rate_hz: int) -> np.ndarray:
    """Mark the 10 ms frames that hold speech, by energy above a robust noise floor.

    The threshold lies between the 10th and the 95th percentile of the frame levels of the
    pre-emphasised sound (so that hum counts little and final fricatives much), at most 35 dB below
    the latter. Gaps below 0.2 s are closed, for stops and short pauses; islands below 0.08 s, which
    are clicks, are dropped.

    Args:
        samples: ``(S,)``.
        rate_hz: sampling rate.

    Returns:
        ``(ceil(S / (rate_hz / 100)),)`` bool; all False for silence.
    """
    levels = _frame_levels_db(samples, rate_hz)
    if not len(levels):
        return np.zeros(0, dtype=bool)
    floor, speech = np.percentile(levels, [10, 95])
    threshold = max(floor + 0.3 * (speech - floor), speech - 35.0, _SILENCE_DB)
    active = levels > threshold
    active = _without_short_runs(active, value=False, minimum=round(0.2 / ACTIVITY_SECONDS))
    return _without_short_runs(active, value=True, minimum=round(0.08 / ACTIVITY_SECONDS))


def speech_seconds(samples: np.ndarray, rate_hz: int) -> float:
    """Measure how much of sound ``(S,)`` is speech."""
    return float(voice_activity(samples, rate_hz).sum()) * ACTIVITY_SECONDS


def speech_bounds(
    samples: np.ndarray, rate_hz: int, margin_seconds: float = 0.1
) -> tuple[int, int]:
    """Find the first and one past the last sample of speech, widened by a margin.

    Returns:
        ``(start, stop)``; ``(0, 0)`` where there is no speech.
    """
    frames = np.flatnonzero(voice_activity(samples, rate_hz))
    if not len(frames):
        return 0, 0
    hop = _frame_samples(rate_hz)
    margin = round(margin_seconds * rate_hz)
    start = max(0, int(frames[0]) * hop - margin)
    return start, min(len(samples), (int(frames[-1]) + 1) * hop + margin)


def trim_silence(samples: np.ndarray, rate_hz: int, margin_seconds: float = 0.1) -> np.ndarray:
    """Cut silence at both ends, all but a margin; silence alone becomes ``(0,)``."""
    start, stop = speech_bounds(samples, rate_hz, margin_seconds)
    return samples[start:stop]


def best_excerpt(samples: np.ndarray, rate_hz: int, seconds: float) -> np.ndarray:
    """Cut the excerpt that holds the most speech, starting in a pause where there is one.

    Args:
        samples: ``(S,)``.
        rate_hz: sampling rate.
        seconds: length of the excerpt; shorter input is returned whole.
    """
    length = round(seconds * rate_hz)
    if len(samples) <= length:
        return samples
    hop = _frame_samples(rate_hz)
    active = voice_activity(samples, rate_hz)
    window = length // hop
    total = np.concatenate([[0], np.cumsum(active)])
    speech = total[window:] - total[:-window]
    starts = np.flatnonzero(~active[: len(speech)])
    if not len(starts):
        starts = np.arange(len(speech))
    start = int(starts[np.argmax(speech[starts])]) * hop
    return samples[start : start + length]


def active_level_db(samples: np.ndarray, rate_hz: int) -> float:
    """Measure the RMS level over the frames that hold speech, in dB full scale."""
    active = np.repeat(voice_activity(samples, rate_hz), _frame_samples(rate_hz))[: len(samples)]
    if not active.any():
        return -np.inf
    return float(10.0 * np.log10(np.mean(np.square(samples[active], dtype=np.float64)) + 1e-12))


def normalize_loudness(
    samples: np.ndarray, rate_hz: int, level_db: float = LOUDNESS_DB
) -> np.ndarray:
    """Scale speech to an RMS level over its active frames, with peaks at most 0.99.

    Silence is returned unchanged.
    """
    measured = active_level_db(samples, rate_hz)
    if not np.isfinite(measured):
        return samples
    peak = float(np.abs(samples).max())
    gain = min(10.0 ** ((level_db - measured) / 20.0), 0.99 / peak)
    return (samples * np.float32(gain)).astype(np.float32)


def clipped_share(samples: np.ndarray) -> float:
    """Measure which share of samples sits on a flat top: three or more equal ones at the peak."""
    peak = float(np.abs(samples).max(initial=0.0))
    if peak == 0.0:
        return 0.0
    flat = _without_short_runs(np.abs(samples) >= 0.999 * peak, value=True, minimum=3)
    return float(flat.mean())


def prepare_prompt(waveform: Waveform) -> np.ndarray:
    """Turn a recording into a voice prompt, or say why it cannot be one.

    Rules: DC is removed; silence at both ends is cut; of more than 30 s the part with the most
    speech is kept; the level is set to -23 dB. Clipping of up to 5 % of the samples is accepted as
    it is; beyond that the timbre is no longer the speaker's.

    Args:
        waveform: mono sound, see :func:`load`.

    Returns:
        ``(S,)`` float32 at the rate of ``waveform``.

    Raises:
        PromptError: NaN or infinite samples, silence, less than 1 s of speech, heavy clipping, or
            nothing voiced, as in noise.
    """
    samples, rate_hz = np.asarray(waveform.samples, dtype=np.float32), waveform.rate_hz
    if not np.isfinite(samples).all():
        raise PromptError("the prompt holds NaN or infinite samples; record or export it again")
    share = clipped_share(samples)
    samples = samples - samples.mean() if len(samples) else samples
    samples = trim_silence(samples, rate_hz)
    if not len(samples):
        raise PromptError("the prompt is silent; give 3 to 30 s of one person speaking")
    if share > _CLIPPED_SHARE:
        raise PromptError(
            f"{share:.0%} of the prompt is clipped, at most 5% is usable; record it less loud"
        )
    samples = best_excerpt(samples, rate_hz, PROMPT_MAXIMUM_SECONDS)
    heard_seconds = speech_seconds(samples, rate_hz)
    if heard_seconds < PROMPT_MINIMUM_SPEECH_SECONDS:
        raise PromptError(
            f"the prompt holds {heard_seconds:.1f} s of speech, at least "
            f"{PROMPT_MINIMUM_SPEECH_SECONDS:.0f} s is needed; give 3 to 30 s"
        )
    if not has_voice(samples, rate_hz):
        raise PromptError(
            "no voice is heard in the prompt, as in noise or a whisper; give 3 to 30 s of one "
            "person speaking aloud"
        )
    return normalize_loudness(samples, rate_hz)


def _frame_samples(rate_hz: int) -> int:
    return round(rate_hz * ACTIVITY_SECONDS)


def _frame_levels_db(samples: np.ndarray, rate_hz: int) -> np.ndarray:
    hop = _frame_samples(rate_hz)
    count = -(-len(samples) // hop)
    if not count:
        return np.zeros(0)
    centred = np.asarray(samples, dtype=np.float64) - np.mean(samples, dtype=np.float64)
    emphasised = np.append(centred[0] * 0.03, centred[1:] - 0.97 * centred[:-1])
    power = np.pad(emphasised, (0, count * hop - len(samples))).reshape(count, hop)
    energy = np.square(power).mean(1)
    # 30 ms windows on 10 ms steps: one pitch period of a low voice must not fall between frames.
    smooth: np.ndarray[Any, Any] = np.convolve(np.pad(energy, 1, mode="edge"), [1 / 3] * 3, "valid")
    return 10.0 * np.log10(smooth + 1e-12)


def _without_short_runs(flags: np.ndarray, *, value: bool, minimum: int) -> np.ndarray:
    """Flip inner runs of ``value`` shorter than ``minimum``; runs of False at the ends stay."""
    edges = np.flatnonzero(np.diff(flags)) + 1
    bounds = np.concatenate([[0], edges, [len(flags)]])
    result = flags.copy()
    for start, stop in itertools.pairwise(bounds):
        at_end = start == 0 or stop == len(flags)
        if stop - start < minimum and flags[start] == value and not (at_end and not value):
            result[start:stop] = not value
    return result
