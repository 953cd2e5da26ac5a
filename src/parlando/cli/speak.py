"""``parlando speak``: a text and a voice to a sound file."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from parlando.audio.waveform import check_writable
from parlando.contracts import SpeakOptions, TextError

if TYPE_CHECKING:
    from parlando.speaking import Progress, Speaker
    from parlando.speech import Speech

_PROGRESS_FROM_PIECES = 4


@dataclass(frozen=True, kw_only=True)
class Options:
    """Speak a text in the voice of a prompt; what is written is marked as synthetic."""

    text: tyro.conf.Positional[str | None] = None
    """What to say; ``-`` reads standard input."""
    voice: Path | None = None
    """Sound file of 3 to 30 s of one person speaking; without one a bundled example speaks."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("speech.wav")
    """File to write: wav, flac, ogg or mp3."""
    text_file: Path | None = None
    """Read the text from this UTF-8 file; ``-`` is standard input."""
    steps: int = SpeakOptions.steps
    """Steps of the sampler: more are slower and finer."""
    solver: str = SpeakOptions.solver
    """``dpm`` needs 8 to 16 steps, ``euler`` and ``sde`` about 150."""
    speed: float = SpeakOptions.speed
    """Speaking rate, 0.25 to 4."""
    duration: float | None = None
    """Total length in seconds to fit; replaces the speed."""
    seed: int | None = None
    """The same seed gives the same speech; without one it is drawn and printed."""
    system: str = "naturalspeech2-small"
    """Name of a released system, or the folder of a trained one."""
    device: str = "cpu"
    """``cpu``, ``cuda``, ``cuda:1``, ``mps`` or ``auto``."""
    plot: Path | None = None
    """Also draw waveform, mel spectrogram, F0 and phonemes to this png, pdf or svg."""


def run(options: Options) -> None:
    """Speak, write the file and print one line about it."""
    text = _text(options)
    check_writable(options.out)
    if options.plot:
        from parlando.plotting import check_writable as check_picture

        check_picture(options.plot)

    from parlando.registry import load

    speech = _speak(load(options.system, options.device), text, options)
    speech.save(options.out)
    if options.plot:
        speech.plot(options.plot)
    print(
        f"{options.out}: {speech.duration_seconds:.2f} s, "
        f"real-time factor {speech.real_time_factor:.2f}, seed {speech.seed}"
    )


def _text(options: Options) -> str:
    if (options.text is None) == (options.text_file is None):
        raise TextError("expected one text: as an argument, as - for standard input or --text-file")
    try:
        if "-" in (options.text, str(options.text_file)):
            return sys.stdin.read()
        if options.text_file:
            return options.text_file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise TextError(f"{options.text_file}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise TextError(f"the text is not UTF-8 ({error.reason}); save it as UTF-8") from error
    return options.text or ""


def _speak(speaker: "Speaker", text: str, options: Options) -> "Speech":
    from rich.console import Console
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    with Bar(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("speaking", total=None, visible=False)

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, visible=total >= _PROGRESS_FROM_PIECES)

        progress: Progress = show
        return speaker.speak(
            text,
            options.voice,
            seed=options.seed,
            progress=progress,
            steps=options.steps,
            solver=options.solver,
            speed=options.speed,
            duration_seconds=options.duration,
        )
