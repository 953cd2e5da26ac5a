"""From recordings to a prepared corpus, stage by stage, shard by shard, resumable.

A stage writes one file for each shard, whole or not at all; a run that was killed goes on with the
first shard that is missing. What cannot be used is skipped and reported with its reason.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from parlando.audio import pitch, waveform
from parlando.contracts import AudioError, ConfigError, TextError
from parlando.data import store
from parlando.data.augment import Voice, change_voice, voices_of
from parlando.data.corpora import Recording
from parlando.text.normalize import normalize
from parlando.text.phonemes import phonemize_many
from parlando.text.vocabulary import BOUNDARY, SYMBOLS, encode, is_pause

_REVISION = 2
"""Part of every fingerprint; raised when the meaning of prepared audio changes."""


@dataclass(frozen=True, kw_only=True)
class AudioOptions:
    """What the ``audio`` stage does to each recording."""

    rate_hz: int = waveform.RATE_HZ
    """Sampling rate of the prepared audio."""
    hop_samples: int = 200
    """Samples of one frame."""
    margin_seconds: float = 0.1
    """Silence kept at both ends."""
    level_db: float = waveform.LOUDNESS_DB
    """Level of the speech, RMS over active frames; that of prompts."""
    shortest_seconds: float = 0.5
    """Shorter utterances are skipped."""
    longest_seconds: float = 25.0
    """Longer utterances are skipped; of those without text the best part is kept."""
    slowest_phones: float = 2.0
    """Utterances with fewer phones per second are skipped: the text is not what is said."""
    quickest_phones: float = 25.0
    """Utterances with more phones per second are skipped."""
    voices: int = 0
    """New voices made of each transcribed training utterance."""
    voices_of_source: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """The same for single sources: many voices where few people speak long."""
    shard_utterances: int = 256
    """Utterances of one shard."""

    def __post_init__(self) -> None:
        for name in ("rate_hz", "hop_samples", "shard_utterances"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected at least 1")
        for count in (self.voices, *self.voices_of_source.values()):
            if count < 0:
                raise ConfigError(f"voices is {count}, expected 0 or more")


@dataclass(frozen=True)
class Skipped:
    """An utterance that is left out."""

    id: str
    source: str
    reason: str
    detail: str = ""


@dataclass(frozen=True)
class Prepared:
    """An utterance as the audio stage leaves it."""

    row: store.Row
    audio: np.ndarray
    f0: np.ndarray
    voiced: np.ndarray
    symbols: np.ndarray


@dataclass(frozen=True)
class Job:
    """A recording, in its own voice or in a new one."""

    recording: Recording
    voice: Voice | None = None

    @property
    def id(self) -> str:
        """Name of the utterance."""
        return self.recording.id if self.voice is None else f"{self.recording.id}+{self.voice.name}"

    @property
    def speaker(self) -> str:
        """Name of the speaker; a new voice is a new one."""
        name = self.recording.speaker
        return name if self.voice is None else f"{name}+{self.voice.name}"


def jobs_of(recordings: Iterable[Recording], options: AudioOptions) -> list[Job]:
    """List what to prepare: each recording, and new voices of transcribed training ones."""
    jobs = []
    for recording in recordings:
        jobs.append(Job(recording))
        if recording.split == "train" and recording.transcribed:
            count = options.voices_of_source.get(recording.source, options.voices)
            jobs.extend(Job(recording, voice) for voice in voices_of(recording.speaker, count))
    return jobs


def symbols_of(recording: Recording) -> list[str]:
    """List the symbols of an utterance, with a pause to align silence to at each end.

    Returns:
        symbols of the text, or the phones that are given in its place; none without both.

    Raises:
        TextError: the text holds nothing that can be spoken, or a phone is no symbol.
    """
    if not recording.transcribed:
        return []
    if recording.text is not None:
        symbols = phonemize_many([normalize(recording.text)])[0]
    else:
        symbols = list(recording.phones)
        encode(symbols)
    last = [] if is_pause(symbols[-1]) else [BOUNDARY]
    return [BOUNDARY, *symbols, *last]


def prepare_job(job: Job, options: AudioOptions) -> Prepared | Skipped:
    """Run the audio stage on one utterance; whatever goes wrong becomes a reason to skip it."""

    def skip(reason: str, detail: object = "") -> Skipped:
        return Skipped(job.id, job.recording.source, reason, " ".join(str(detail).split()))

    try:
        samples = _read_speech(job, options)
        symbols = symbols_of(job.recording)
    except AudioError as error:
        return skip("unreadable", error)
    except TextError as error:
        return skip("no phonemes", error)
    except Exception as error:
        # One broken file of a thousand must not end a run of hours, whichever way it is broken.
        return skip("failed", f"{type(error).__name__}: {error}")
    seconds = len(samples) / options.rate_hz
    if not len(samples):
        return skip("no speech")
    if seconds < options.shortest_seconds:
        return skip("too short", f"{seconds:.2f} s")
    if seconds > options.longest_seconds:
        return skip("too long", f"{seconds:.1f} s")
    if symbols:
        pace = sum(not is_pause(symbol) for symbol in symbols) / seconds
        if not options.slowest_phones <= pace <= options.quickest_phones:
            return skip("implausible rate", f"{pace:.1f} phones/s")
    return _prepared(job, samples, symbols, options)


def _read_speech(job: Job, options: AudioOptions) -> np.ndarray:
    """Read, trim and level the speech of a job: ``(S,)`` float32."""
    recording, rate_hz = job.recording, options.rate_hz
    samples = waveform.load(recording.audio_path, rate_hz).samples
    if recording.start_seconds > 0.0 and recording.duration_seconds is not None:
        first = round(recording.start_seconds * rate_hz)
        samples = samples[first : first + round(recording.duration_seconds * rate_hz)]
    if not len(samples):
        return samples
    samples = waveform.trim_silence(samples - samples.mean(), rate_hz, options.margin_seconds)
    if not recording.transcribed:
        samples = waveform.best_excerpt(samples, rate_hz, options.longest_seconds)
    if job.voice is not None:
        samples = change_voice(samples, rate_hz, job.voice)
    return waveform.normalize_loudness(samples, rate_hz, options.level_db)


def _prepared(
    job: Job, samples: np.ndarray, symbols: Sequence[str], options: AudioOptions
) -> Prepared:
    hop = options.hop_samples
    count = len(samples) // hop
    samples = samples[: count * hop]
    hertz, voiced = pitch.f0(samples, options.rate_hz, hop)
    recording = job.recording
    row = {
        **{key: recording.extra[key] for key in recording.extra if key != "native_english"},
        "id": job.id,
        "speaker": job.speaker,
        "sex": recording.sex,
        "source": recording.source,
        "split": recording.split,
        "native": recording.extra.get("native_english"),
        "text": recording.text,
        "voice": None if job.voice is None else dataclasses.asdict(job.voice),
        "n_frames": count,
        "n_symbols": len(symbols),
    }
    return Prepared(
        row=row,
        audio=np.clip(np.round(samples * 32768.0), -32768, 32767).astype(np.int16),
        f0=hertz,
        voiced=voiced.astype(np.uint8),
        symbols=np.asarray(encode(symbols), dtype=np.int16),
    )


def prepare_audio(
    recordings: Sequence[Recording],
    folder: str | Path,
    options: AudioOptions | None = None,
    processes: int = 2,
) -> None:
    """Run the audio stage: read, resample, trim, level, phonemes and F0, into shards.

    Args:
        recordings: the corpus; the same one on every run.
        folder: where the prepared corpus is, or goes.
        options: what to do to each recording.
        processes: how many work in parallel.

    Raises:
        ConfigError: the folder holds another corpus, or one prepared with other options.
    """
    options = options or AudioOptions()
    folder = Path(folder)
    jobs = jobs_of(recordings, options)
    _begin(folder, jobs, options)
    size = options.shard_utterances
    shards = [jobs[start : start + size] for start in range(0, len(jobs), size)]
    missing = [
        shard for shard in range(len(shards)) if store.read_notes(folder, shard, "audio") is None
    ]
    with progress_bar() as bar, _mapping(processes) as mapping:
        done = len(jobs) - sum(len(shards[shard]) for shard in missing)
        task = bar.add_task("audio", total=len(jobs), completed=done)
        for shard in missing:
            results = []
            for result in mapping(prepare_job, shards[shard], options):
                results.append(result)
                bar.advance(task)
            _write_audio_shard(folder, shard, results)
    finish_stage(folder, "audio", len(shards))


@contextlib.contextmanager
def _mapping(processes: int) -> Iterator[Callable[..., Iterator[Prepared | Skipped]]]:
    """Give a map over jobs, in this process or in several, results in the order of the jobs."""
    if processes <= 1:
        yield lambda function, jobs, options: (function(job, options) for job in jobs)
        return
    # Spawned, not forked: the parent may hold threads of torch and espeak-ng.
    pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"))
    try:
        yield lambda function, jobs, options: pool.map(
            functools.partial(function, options=options), jobs, chunksize=4
        )
    except BrokenProcessPool as error:
        raise ConfigError(
            "a process of the preparation was killed, perhaps for want of memory; run the same "
            "command again to go on, with fewer --processes"
        ) from error
    finally:
        # Ctrl-C must not wait for the rest of a shard.
        pool.shutdown(cancel_futures=True)


def _write_audio_shard(folder: Path, shard: int, results: Sequence[Prepared | Skipped]) -> None:
    kept = [result for result in results if isinstance(result, Prepared)]
    frames = symbols = 0
    rows = []
    for position, result in enumerate(kept):
        place = {
            "shard": shard,
            "position": position,
            "start_frame": frames,
            "start_symbol": symbols,
        }
        rows.append(result.row | place)
        frames += result.row["n_frames"]
        symbols += result.row["n_symbols"]
    types = {"audio": np.int16, "f0": np.float32, "voiced": np.uint8, "symbols": np.int16}
    arrays = {
        name: np.concatenate([np.zeros(0, kind), *(getattr(result, name) for result in kept)])
        for name, kind in types.items()
    }
    skipped = [dataclasses.asdict(result) for result in results if isinstance(result, Skipped)]
    store.write_shard(folder, shard, "audio", arrays, {"rows": rows, "skipped": skipped})


def _begin(folder: Path, jobs: Sequence[Job], options: AudioOptions) -> None:
    """Make ``info.json``, or check that the one there belongs to the same work."""
    if not jobs:
        raise ConfigError("the corpus is empty; nothing to prepare")
    work = [
        [
            job.id,
            job.speaker,
            job.recording.split,
            job.recording.text,
            job.recording.phones,
            repr(job.voice),
        ]
        for job in jobs
    ]
    settings = [_REVISION, SYMBOLS, dataclasses.asdict(options), work]
    fingerprint = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:16]
    if (folder / "info.json").exists():
        found = store.read_info(folder)["fingerprints"].get("audio")
        if found != fingerprint:
            raise ConfigError(
                f"{folder}: was prepared from another corpus or with other options; "
                "choose another folder or delete this one"
            )
        return
    store.write_json(
        folder / "info.json",
        {
            "schema_version": store.SCHEMA_VERSION,
            "rate_hz": options.rate_hz,
            "hop_samples": options.hop_samples,
            "vocabulary": list(SYMBOLS),
            "options": dataclasses.asdict(options),
            "shards": 0,
            "stages": [],
            "fingerprints": {"audio": fingerprint},
        },
    )


def finish_stage(folder: Path, stage: str, shards: int) -> None:
    """Rebuild the manifest from the shards and enter the stage into ``info.json``."""
    rows: list[store.Row] = []
    for shard in range(shards):
        found: list[store.Row] = store.read_notes(folder, shard, "audio")["rows"]
        rejected = (store.read_notes(folder, shard, "alignment") or {}).get("rejected", {})
        rows.extend(row | {"rejected": rejected.get(row["id"])} for row in found)
    store.write_rows(folder / "manifest.jsonl", rows)
    info = store.read_info(folder)
    info["shards"] = shards
    info["stages"] = [name for name in store.STAGES if name in (*info["stages"], stage)]
    store.write_json(folder / "info.json", info)


def progress_bar() -> Progress:
    """Make the bar that every stage shows, on standard error."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
