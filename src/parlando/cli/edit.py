"""``parlando edit``: a recording that says other words in places."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from parlando.audio.waveform import check_writable
from parlando.cli.named import read_named
from parlando.cli.texts import read_words
from parlando.contracts import ConfigError

if TYPE_CHECKING:
    from parlando.editing import Edit


@dataclass(frozen=True, kw_only=True)
class Options:
    """Let a recording say a new text: only what changes is made anew, all else stays bit for bit.
    What is written is marked as synthetic in parts."""

    source: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SOURCE")]
    """Sound file of one person speaking, of 1 s to two minutes."""
    transcript: Annotated[str, tyro.conf.arg(metavar="TEXT")] = ""
    """What is said in it, all of it: the words, or the name of a .txt file; ``-`` reads standard
    input."""
    transcript_file: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Read the transcript from this UTF-8 file; ``-`` is standard input."""
    text: Annotated[str, tyro.conf.arg(metavar="TEXT")] = ""
    """What it shall say: the words, or the name of a .txt file; ``-`` reads standard input."""
    text_file: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Read the new text from this UTF-8 file; ``-`` is standard input."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="FILE")] = Path("edited.wav")
    """File to write: wav, flac, ogg or mp3."""
    steps: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Steps of each process, by default 4; 1 is quicker and coarser."""
    option: tyro.conf.UseAppendAction[
        Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE")]
    ] = ()
    """Any other option that the system has: ``duration_steps``, ``guidance``, ``guidance_rescale``,
    ``temperature`` or ``top_k``, such as ``guidance=1.5``; may be given several times."""
    seed: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """The same seed gives the same sound; without one it is drawn and printed."""
    system: str = "naturalspeech3-small"
    """Name of a released NaturalSpeech 3, or the folder of a trained one."""
    device: str = "cpu"
    """``cpu``, ``cuda``, ``cuda:1``, ``mps`` or ``auto``."""


def run(options: Options) -> None:
    """Edit, write the file and print one line about it.

    Raises:
        ParlandoError: The recording, a text or the system is not usable.
    """
    transcript = read_words(options.transcript, options.transcript_file, "--transcript")
    text = read_words(options.text, options.text_file, "--text")
    given = _given(options)
    check_writable(options.out)
    from rich.console import Console
    from rich.progress import Progress as Bar

    from parlando.audio.waveform import load
    from parlando.registry import load_editor

    # What may be wrong with the recording should not wait for weights.
    load(options.source, None)
    editor = load_editor(options.system, options.device)
    console = Console(stderr=True)
    with Bar(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("editing", total=None, visible=False)

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, visible=total > 1)

        made = editor.edit(
            options.source, transcript, text, seed=options.seed, progress=show, **given
        )
    made.save(options.out)
    print(
        f"{options.out}: {made.duration_seconds:.2f} s, {_told(made)}, "
        f"real-time factor {made.real_time_factor:.2f}, seed {made.seed}"
    )


def _given(options: Options) -> dict[str, Any]:
    """Return the options that were said: a system refuses what it does not know."""
    given = read_named(options.option, "--option")
    if options.steps is None:
        return given
    if "steps" in given:
        raise ConfigError("got steps by its own flag and by --option; leave one out")
    return given | {"steps": options.steps}


def _told(made: "Edit") -> str:
    """Say which parts are new."""
    spans = [f"{start:.2f}-{stop:.2f} s" for start, stop in made.spans_seconds]
    return f"made anew {', '.join(spans)}" if spans else "cut without anything new"
