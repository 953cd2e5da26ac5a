"""``parlando speak``: a text and a voice to a sound file."""

import sys
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import tyro

from parlando.audio.waveform import check_writable
from parlando.cli.named import read_named
from parlando.cli.texts import read_text
from parlando.contracts import AudioError, ConfigError

if TYPE_CHECKING:
    from parlando.speaking import Progress, Speaker
    from parlando.speech import Speech, Voice

_PROGRESS_FROM_PIECES = 4


@dataclass(frozen=True, kw_only=True)
class Options:
    """Speak a text in the voice of a prompt; what is written is marked as synthetic."""

    text: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="[TEXT]")] = ""
    """What to say; ``-`` reads standard input."""
    voice: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Sound file of 3 to 30 s of one person speaking; without one a bundled example speaks."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="FILE")] = Path("speech.wav")
    """File to write: wav, flac, ogg or mp3."""
    text_file: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Read the text from this UTF-8 file; ``-`` is standard input."""
    stream: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """In place of ``--out``: write raw 16-bit mono sound to this file or pipe while it is made;
    ``-`` is standard output. It holds no metadata: who plays it on must say it is synthetic."""
    steps: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """NaturalSpeech 2: steps of the sampler, by default 12; 3: of each process, by default 4. More
    are slower and finer."""
    solver: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """NaturalSpeech 2: ``dpm`` (default) needs 8 to 16 steps, ``euler`` and ``sde`` about 150."""
    speed: Annotated[float | None, tyro.conf.arg(metavar="FACTOR")] = None
    """NaturalSpeech 2 and 3: speaking rate, 0.25 to 4."""
    duration: Annotated[float | None, tyro.conf.arg(metavar="SECONDS")] = None
    """NaturalSpeech 2 and 3: total length in seconds to fit; replaces the speed."""
    voice_text: Annotated[str | None, tyro.conf.arg(metavar="TEXT")] = None
    """NaturalSpeech 3 and VALL-E 2: what the prompt says; without it a phone recogniser listens."""
    prosody_from: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """NaturalSpeech 3: take the melody from this prompt instead of the voice."""
    timbre_from: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """NaturalSpeech 3: take the timbre from this prompt instead of the voice."""
    duration_from: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """NaturalSpeech 3: take the rhythm from this prompt instead of the voice."""
    top_p: Annotated[float | None, tyro.conf.arg(metavar="SHARE")] = None
    """VALL-E 2: nucleus to draw codes from, 0 to 1."""
    best_of: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """VALL-E 2: speak so often and keep the best; needs ``parlando[evaluate]``."""
    option: tyro.conf.UseAppendAction[
        Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE")]
    ] = ()
    """Any other option that the system has, such as ``guidance=1.5``, ``temperature=0.9``,
    ``match_timbre=false`` or ``continuation=true``; may be given several times."""
    seed: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """The same seed gives the same speech; without one it is drawn and printed."""
    system: str = "naturalspeech2-small"
    """Name of a released system, or the folder of a trained one."""
    device: str = "cpu"
    """``cpu``, ``cuda``, ``cuda:1``, ``mps`` or ``auto``."""
    plot: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Also draw waveform, mel spectrogram, F0 and phonemes to this png, pdf or svg."""


def run(options: Options) -> None:
    """Speak, write the file and print one line about it."""
    text = read_text(options.text, options.text_file)
    given = _given(options)
    if options.stream is None:
        check_writable(options.out)
    elif options.plot:
        raise ConfigError(
            "got --stream and --plot; a stream is not kept to be drawn: leave one out"
        )
    if options.plot:
        from parlando.plotting import check_writable as check_picture

        check_picture(options.plot)

    from parlando.registry import load
    from parlando.speech import Voice, as_voice

    # Prompts are read first: what may be wrong with them should not wait for weights and torch.
    voice = Voice.from_file(options.voice) if options.voice else None
    for path in (options.prosody_from, options.timbre_from, options.duration_from):
        if path is not None:
            as_voice(path)
    speaker = load(options.system, options.device)
    if options.stream is not None:
        _stream(speaker, text, voice, options, given)
        return
    speech = _speak(speaker, text, voice, options, given)
    speech.save(options.out)
    if options.plot:
        speech.plot(options.plot)
    print(
        f"{options.out}: {speech.duration_seconds:.2f} s, "
        f"real-time factor {speech.real_time_factor:.2f}, seed {speech.seed}"
    )


def _speak(
    speaker: "Speaker",
    text: str,
    voice: "Voice | None",
    options: Options,
    given: Mapping[str, Any],
) -> "Speech":
    from rich.console import Console
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    with Bar(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("speaking", total=None, visible=False)

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, visible=total >= _PROGRESS_FROM_PIECES)

        progress: Progress = show
        return speaker.speak(text, voice, seed=options.seed, progress=progress, **given)


def _given(options: Options) -> dict[str, Any]:
    """Return what was said beside text, voice and seed: a system refuses what it does not know."""
    values = {
        "prosody_from": options.prosody_from,
        "timbre_from": options.timbre_from,
        "duration_from": options.duration_from,
        "steps": options.steps,
        "solver": options.solver,
        "speed": options.speed,
        "duration_seconds": options.duration,
        "voice_text": options.voice_text,
        "top_p": options.top_p,
        "best_of": options.best_of,
    }
    given = {name: value for name, value in values.items() if value is not None}
    named = read_named(options.option, "--option")
    if twice := sorted(given.keys() & named.keys()):
        raise ConfigError(f"got {twice[0]} by its own flag and by --option; leave one out")
    return given | named


def _stream(
    speaker: "Speaker",
    text: str,
    voice: "Voice | None",
    options: Options,
    given: Mapping[str, Any],
) -> None:
    """Write each part as soon as it is made; the one line about it goes to standard error."""
    import numpy as np

    given = speaker.in_chunks(given)
    # A stream reads the prompt at once: who waits for the first sound waits for that, too.
    started, length = time.perf_counter(), 0.0
    parts = speaker.stream(text, voice, seed=options.seed, **given)
    # What is wrong with text, voice or options is told by the first part: no file is begun before.
    begun = next(parts)
    first = time.perf_counter() - started
    try:
        with _sink(options.stream) as sink:
            for part in chain([begun], parts):
                length += part.duration_seconds
                sink.write((part.samples * 32767.0).astype(np.int16).tobytes())
                sink.flush()
    except OSError as error:
        raise AudioError(f"{options.stream}: cannot be written ({error.strerror})") from error
    print(
        f"{length:.2f} s at {speaker.rate_hz} Hz, 16 bit, mono; first sound after {first:.2f} s; "
        f"seed {begun.seed}",
        file=sys.stderr,
    )


def _sink(path: Path | None) -> AbstractContextManager[BinaryIO]:
    if path is None or str(path) == "-":
        return nullcontext(sys.stdout.buffer)
    return path.open("wb")
