"""``parlando align``: when each phone and word of a text is spoken, as a Praat TextGrid."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from parlando.cli.recognize import read_speech
from parlando.cli.texts import read_text


@dataclass(frozen=True, kw_only=True)
class Options:
    """Align a recording with its text, and write the words and phones for Praat."""

    audio: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="AUDIO")]
    """Sound file of up to two minutes of one person speaking."""
    text: str = ""
    """What is said in it; ``-`` reads standard input."""
    text_file: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Read the text from this UTF-8 file; ``-`` is standard input."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="FILE")] = Path("out.TextGrid")
    """TextGrid to write, with the tiers ``words`` and ``phones``."""
    aligner: str = "aligner-small"
    """Name of a released aligner, or the folder of a trained one."""
    device: str = "cpu"
    """``cpu``, ``cuda``, ``cuda:1``, ``mps`` or ``auto``."""
    plot: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Also draw waveform, mel spectrogram and phonemes to this png, pdf or svg."""


def run(options: Options) -> None:
    """Align, write the TextGrid and print one line about it.

    Raises:
        ParlandoError: the recording, the text or a target is not usable.
    """
    from parlando import plotting
    from parlando.data import textgrid

    text = read_text(options.text, options.text_file)
    textgrid.check_writable(options.out)
    if options.plot:
        plotting.check_writable(options.plot)
    import torch

    from parlando.aligner.recordings import align_speech
    from parlando.data.annotate import AlignmentLimits, reason_to_reject
    from parlando.registry import load_aligner
    from parlando.text.normalize import normalize
    from parlando.text.phonemes import phonemize
    from parlando.text.vocabulary import BOUNDARY, is_phone
    from parlando.text.words import word_spans

    spoken = normalize(text)
    # As in training, there is a pause at each end.
    symbols = [BOUNDARY, *phonemize(spoken)]
    symbols += [BOUNDARY] if is_phone(symbols[-1]) else []
    aligner = load_aligner(options.aligner, options.device)
    samples, start, stop = read_speech(options.audio, aligner.rate_hz, aligner.hop_samples)
    sound = torch.from_numpy(samples).to(next(aligner.parameters()).device)
    durations, score = align_speech(
        aligner, sound, (start, stop), symbols, aligner.hop_samples, str(options.audio)
    )
    frame_seconds = aligner.hop_samples / aligner.rate_hz
    words = word_spans(spoken, symbols)
    textgrid.write_textgrid(options.out, symbols, durations, frame_seconds, words)
    if options.plot:
        picture = plotting.AlignedSound(
            title=f"{options.audio.name}, aligned by {Path(options.aligner).name}",
            samples=samples,
            rate_hz=aligner.rate_hz,
            hop_samples=aligner.hop_samples,
            phonemes=tuple(symbols),
            durations=tuple(frames * frame_seconds for frames in durations),
        )
        plotting.plot_alignment(picture, options.plot)
    phones = sum(map(is_phone, symbols))
    seconds = sum(durations) * frame_seconds
    print(f"{options.out}: {seconds:.2f} s, {len(words)} words, {phones} phones, score {score:.2f}")
    reason = reason_to_reject(symbols, durations, score, frame_seconds, AlignmentLimits())
    if reason:
        print(f"implausible ({reason}): the text may not be what is said")
