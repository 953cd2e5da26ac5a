"""What makes the sounds that are judged: a system that speaks, a codec, or a folder of files."""

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from parlando.audio import waveform
from parlando.contracts import AudioError, ConfigError, PromptError
from parlando.evaluation.measure import RATE_HZ, Trial

# What a release and a checkpoint are made of; evaluation does not depend on training.
_WEIGHTS = ("config.json", "weights.safetensors")


@dataclass(frozen=True, kw_only=True, eq=False)
class Made:
    """What came of one trial."""

    samples: np.ndarray
    """``(S,)`` float32."""
    rate_hz: int
    """Sampling rate."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """See ``Sample.details``."""


class Maker(Protocol):
    """Makes the output of a trial. It is sent to other processes: it loads at its first trial."""

    name: str
    """Of the system, the codec or the folder."""
    synthetic: bool
    """Whether the outputs are known to be no recordings."""

    def fingerprint(self, trial: Trial) -> str:
        """Give what changes with whatever a trial's output depends on, other than the trial."""

    def make(self, trial: Trial, prompt: np.ndarray | None, reference: np.ndarray | None) -> Made:
        """Make the output of a trial from its prompt and reference, ``(S,)`` at 16 kHz."""


class SpeechMaker:
    """Lets a system speak the trial's text in the voice of its prompt.

    Args:
        load: a picklable function that returns an object with ``speak(text, voice=(samples,
            rate_hz), seed=…, **options)``, such as ``parlando.speaking.Speaker``.
        name: of the system.
        fingerprint: of its weights.
        options: of ``speak`` for every trial; a trial's own go before them.
    """

    synthetic = True

    def __init__(
        self,
        load: Callable[[], Any],
        *,
        name: str,
        fingerprint: str = "",
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.options = dict(options or {})
        self._fingerprint = f"{name} {fingerprint} {sorted(self.options.items())}"
        self._load = load
        self._speaker: Any = None

    def fingerprint(self, trial: Trial) -> str:
        """Name the system, its weights and its options."""
        return self._fingerprint

    def make(self, trial: Trial, prompt: np.ndarray | None, reference: np.ndarray | None) -> Made:
        """Speak; ``details`` tell symbols, durations and the time that it took."""
        if trial.text is None:
            raise ConfigError(f"trial {trial.id} has no text to speak")
        if self._speaker is None:
            self._speaker = self._load()
        options = {**self.options, **trial.options}
        known = getattr(getattr(self._speaker, "synthesizer", None), "option_names", ())
        # An option that is there, even as None, is a choice: the transcript of the trial or none.
        if trial.prompt_text and "voice_text" in known:
            options.setdefault("voice_text", trial.prompt_text)
        if trial.continues and "continuation" in known:
            options.setdefault("continuation", True)
        speak = partial(
            self._speaker.speak,
            trial.text,
            voice=None if prompt is None else (prompt, RATE_HZ),
            seed=trial.seed,
        )
        started = time.perf_counter()
        try:
            speech = speak(**options)
        except PromptError:
            if "voice_text" in trial.options or options.get("voice_text") != trial.prompt_text:
                raise
            # What a cut prompt says is estimated: where that is not heard in it, nobody knows.
            options["voice_text"] = None
            started = time.perf_counter()
            speech = speak(**options)
        details = {
            "rate_hz": speech.rate_hz,
            "wall_seconds": time.perf_counter() - started,
            "options": options,
        }
        if getattr(speech, "phonemes", None):
            details["symbols"] = list(speech.phonemes)
            details["durations_frames"] = [int(n) for n in speech.durations_frames]
            details["hop_samples"] = speech.hop_samples
        if getattr(speech, "notes", None):
            details["notes"] = dict(speech.notes)
        return Made(samples=speech.samples, rate_hz=speech.rate_hz, details=details)


class CodecMaker:
    """Lets a codec code the trial's reference.

    It uses the first ``options["levels"]`` of its levels, or, if it is factorized, all attributes
    but ``options["without"]``.

    Args:
        load: a picklable function that returns a codec of 16 kHz.
        name: of the codec.
        fingerprint: of its weights.
    """

    synthetic = True

    def __init__(self, load: Callable[[], Any], *, name: str, fingerprint: str = "") -> None:
        self.name = name
        self._fingerprint = f"{name} {fingerprint}"
        self._load = load
        self._codec: Any = None

    def fingerprint(self, trial: Trial) -> str:
        """Name the codec and its weights."""
        return self._fingerprint

    def make(self, trial: Trial, prompt: np.ndarray | None, reference: np.ndarray | None) -> Made:
        """Code and decode; ``details`` hold the codes.

        Raises:
            ConfigError: the codec has no such levels or attributes, or there is no recording.
            AudioError: the codec works at another rate.
        """
        import torch

        from parlando.codecs.codes import (
            code_shape,
            decode_codes,
            kept_levels,
            level_names,
            timbre_of,
        )

        if reference is None:
            raise ConfigError(f"trial {trial.id} has no recording to code")
        if self._codec is None:
            self._codec = self._load()
        codec = self._codec
        check_codec_rate(codec, self.name)
        levels, without = trial.options.get("levels"), trial.options.get("without", ())
        kept = kept_levels(codec, levels, without)
        names = level_names(codec)
        started = time.perf_counter()
        padded = np.pad(reference, (0, -len(reference) % codec.hop_samples))
        with torch.inference_mode():
            wave = torch.from_numpy(padded)[None].to(next(codec.parameters()).device)
            codes = codec.encode(wave)[:, :levels]
            decoded = decode_codes(codec, codes, timbre_of(codec, wave), without=without)
        return Made(
            # As long as what went in, so that measures compare sample with sample.
            samples=decoded[0, : len(reference)].cpu().numpy(),
            rate_hz=codec.rate_hz,
            details={
                "rate_hz": codec.rate_hz,
                "hop_samples": codec.hop_samples,
                "wall_seconds": time.perf_counter() - started,
                "codes": codes[0, kept].cpu().tolist(),
                "codebook_size": code_shape(codec)[1],
                "level_names": [names[level] for level in kept],
            },
        )


class ConversionMaker:
    """Lets a converter say the trial's reference in the voice of its prompt.

    Args:
        load: a picklable function that returns an object with ``convert(source, voice)``, both
            ``(samples, rate_hz)``, such as ``parlando.converting.VoiceConverter``.
        name: of the converter.
        fingerprint: of its weights and options.
    """

    synthetic = True

    def __init__(self, load: Callable[[], Any], *, name: str, fingerprint: str = "") -> None:
        self.name = name
        self._fingerprint = f"{name} {fingerprint}"
        self._load = load
        self._converter: Any = None

    def fingerprint(self, trial: Trial) -> str:
        """Name the converter, its weights and its options."""
        return self._fingerprint

    def make(self, trial: Trial, prompt: np.ndarray | None, reference: np.ndarray | None) -> Made:
        """Convert; ``details`` tell the time that it took.

        Raises:
            ConfigError: the trial has no recording to convert, or no voice.
            AudioError: the recording holds no speech.
            PromptError: the prompt is not usable.
        """
        if reference is None or prompt is None:
            raise ConfigError(f"trial {trial.id} needs a recording to convert and a voice")
        if self._converter is None:
            self._converter = self._load()
        made = self._converter.convert((reference, RATE_HZ), (prompt, RATE_HZ))
        return Made(
            samples=made.samples,
            rate_hz=made.rate_hz,
            details={"rate_hz": made.rate_hz, "wall_seconds": made.compute_seconds},
        )


class FilesMaker:
    """Takes what another system made, a sound file for each trial.

    Args:
        paths: file of each trial, by its id.
        name: of the folder.
    """

    synthetic = False

    def __init__(self, paths: Mapping[str, Path], *, name: str) -> None:
        self.name = name
        self.paths = dict(paths)

    def fingerprint(self, trial: Trial) -> str:
        """Stamp the trial's own file: another one beside it changes nothing."""
        path = self.paths.get(trial.id)
        return f"{self.name} {'' if path is None else file_stamp(path)}"

    def make(self, trial: Trial, prompt: np.ndarray | None, reference: np.ndarray | None) -> Made:
        """Read the trial's file."""
        if trial.id not in self.paths:
            raise AudioError(f"{self.name}: holds no recording for {trial.id}")
        sound = waveform.load(self.paths[trial.id], RATE_HZ)
        return Made(samples=sound.samples, rate_hz=RATE_HZ)


def check_codec_rate(codec: Any, name: str) -> None:
    """Refuse a codec of a rate other than the one at which everything is judged.

    Raises:
        AudioError: it works at another rate.
    """
    if codec.rate_hz != RATE_HZ:
        raise AudioError(
            f"{name} works at {codec.rate_hz} Hz, the command codes {RATE_HZ} Hz; code the "
            "recordings yourself and give the results with --wavs"
        )


def file_stamp(path: Path) -> str:
    """Tell a file's size and time of change: together with its path, what it holds.

    Raises:
        AudioError: there is no such file.
    """
    try:
        state = path.stat()
    except OSError as error:
        raise AudioError(f"{path}: cannot be read ({error.strerror}); give its place") from error
    return f"{path} {state.st_size} {state.st_mtime_ns}"


def digest_folder(folder: Path) -> str:
    """Digest the files of a release or checkpoint, so that other weights are measured anew.

    Figures beside the weights do not count: measuring writes them.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name in _WEIGHTS:
            digest.update(path.relative_to(folder).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
