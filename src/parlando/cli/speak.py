"""``parlando speak``: a text and a voice to a sound file."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from parlando.audio.waveform import check_writable
from parlando.cli.texts import read_text
from parlando.contracts import SpeakOptions

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
    steps: int = SpeakOptions.steps
    """Steps of the sampler: more are slower and finer."""
    solver: str = SpeakOptions.solver
    """``dpm`` needs 8 to 16 steps, ``euler`` and ``sde`` about 150."""
    speed: float = SpeakOptions.speed
    """Speaking rate, 0.25 to 4."""
    duration: Annotated[float | None, tyro.conf.arg(metavar="SECONDS")] = None
    """Total length in seconds to fit; replaces the speed."""
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
    check_writable(options.out)
    if options.plot:
        from parlando.plotting import check_writable as check_picture

        check_picture(options.plot)

    from parlando.registry import load
    from parlando.speech import Voice

    # The prompt is read first: what may be wrong with it should not wait for weights and torch.
    voice = Voice.from_file(options.voice) if options.voice else None
    speech = _speak(load(options.system, options.device), text, voice, options)
    speech.save(options.out)
    if options.plot:
        speech.plot(options.plot)
    print(
        f"{options.out}: {speech.duration_seconds:.2f} s, "
        f"real-time factor {speech.real_time_factor:.2f}, seed {speech.seed}"
    )


def _speak(speaker: "Speaker", text: str, voice: "Voice | None", options: Options) -> "Speech":
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
            voice,
            seed=options.seed,
            progress=progress,
            steps=options.steps,
            solver=options.solver,
            speed=options.speed,
            duration_seconds=options.duration,
        )
