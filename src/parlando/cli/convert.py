"""``parlando convert``: a recording in another voice."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from parlando.audio.waveform import check_writable
from parlando.converting import APPROACH, ROUNDS, STRENGTH, WITHOUT


@dataclass(frozen=True, kw_only=True)
class Options:
    """Say a recording in the voice of a prompt, with its words, melody and rhythm; what is written
    is marked as synthetic."""

    source: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SOURCE")]
    """Sound file of one person speaking, of any length."""
    voice: Annotated[Path, tyro.conf.arg(metavar="FILE")]
    """Sound file of 3 to 30 s of who is to be heard."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="FILE")] = Path("converted.wav")
    """File to write: wav, flac, ogg or mp3."""
    without: tuple[Literal["prosody", "detail"], ...] = WITHOUT
    """Leave these attributes of the source out: ``detail`` holds some of its voice. Without a word
    after it, nothing is."""
    strength: float = STRENGTH
    """How far each round goes from the voice that it hears, 0 to 4: 1 is as far as the prompt's,
    more exaggerates the difference, and costs clearness."""
    rounds: int = ROUNDS
    """Convert it so many times, 1 to 8, each time what came out before: nearer to the prompt's
    voice, and less clear."""
    approach: float = APPROACH
    """Before the first round move the source's pitch and formants by the ratio of the prompt's
    pitch to its own, to this power, 0 to 1, and by a quarter at most; 0 leaves them."""
    match_timbre: bool = True
    """Filter the result so that each kind of sound has the spectrum that it has in the prompt."""
    system: str = "facodec-small"
    """Name of a released factorized codec, or the folder of a trained one or of a system on it."""
    device: str = "cpu"
    """``cpu``, ``cuda``, ``cuda:1``, ``mps`` or ``auto``."""


def run(options: Options) -> None:
    """Convert, write the file and print one line about it.

    Raises:
        ParlandoError: A recording, the target or the system is not usable.
    """
    from rich.console import Console
    from rich.progress import Progress as Bar

    from parlando.audio.waveform import load
    from parlando.registry import load_converter
    from parlando.speech import Voice

    check_writable(options.out)
    # What may be wrong with the recordings should not wait for weights.
    voice, source = Voice.from_file(options.voice), load(options.source)
    converter = load_converter(
        options.system,
        options.device,
        without=options.without,
        strength=options.strength,
        match_timbre=options.match_timbre,
        rounds=options.rounds,
        approach=options.approach,
    )
    console = Console(stderr=True)
    with Bar(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("converting", total=None, visible=False)

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, visible=total > options.rounds)

        made = converter.convert(source, voice, progress=show)
    made.save(options.out)
    print(
        f"{options.out}: {made.duration_seconds:.2f} s, "
        f"real-time factor {made.real_time_factor:.2f}"
    )
