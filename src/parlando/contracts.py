"""Nouns and protocols that two packages share, and the error tree.

Nothing here imports another part of Parlando.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from torch import Generator, Tensor, nn


class ParlandoError(Exception):
    """An error that a person can act on; its text is one line: what was got, expected, to do."""


class ConfigError(ParlandoError):
    """A configuration, option or recipe is not valid."""


class AudioError(ParlandoError):
    """A sound file cannot be read or written, or holds no usable sound."""


class TextError(ParlandoError):
    """A text holds nothing that can be spoken, or a symbol is unknown."""


class PromptError(ParlandoError):
    """A voice prompt is not usable."""


class CheckpointError(ParlandoError):
    """A checkpoint or released weight is missing, damaged, or of another kind."""


@dataclass(frozen=True, kw_only=True)
class SpeakOptions:
    """Options of one synthesis call; a system refuses those that it does not have."""

    steps: int | None = None
    """Network evaluations of the sampler (NaturalSpeech 2), or steps of each process (NaturalSpeech
    3), at least 1; none is the system's own: 12 and 4."""
    duration_steps: int | None = None
    """Steps of the process that draws durations; none: ``steps``."""
    solver: str = "dpm"
    """``dpm`` (exponential, second order), ``euler`` (the paper's ODE) or ``sde``."""
    speed: float = 1.0
    """Speaking rate relative to the predicted one, 0.25 to 4."""
    duration_seconds: float | None = None
    """Total length to fit; replaces ``speed``."""
    guidance: float | None = None
    """Classifier-free guidance strength, on the prompt (NaturalSpeech 2 and 3) or the text (VALL-E
    2); 0 switches it off, none is the system's own."""
    guidance_rescale: float | None = None
    """Share of guided logits that is brought back to the contrast of those with the prompt, 0 to 1;
    none is the system's own."""
    temperature: float | None = None
    """Standard deviation of the initial noise (NaturalSpeech 2: 1/1.2), or what divides the logits
    (VALL-E 2: 1; NaturalSpeech 3: 1.5 in the first step, less in each); none is the system's
    own."""
    top_k: int | None = None
    """Likeliest codes among which is drawn; none is the system's own."""
    top_p: float | None = None
    """Nucleus to draw codes from, 0 to 1; 0 takes the likeliest, none is the system's own."""
    repetition_window: int | None = None
    """Codes among which a repetition is sought; 0 is plain sampling, none the system's own."""
    repetition_threshold: float = 0.1
    """Share of that window from which a repeated code is drawn anew, from all codes."""
    exclude_repeated: bool = False
    """Never draw the repeated code again."""
    end_threshold: float | None = None
    """Probability below which speech does not end, 0 to 1; none is the system's own."""
    best_of: int = 1
    """Candidates, of which the best by likeness, then intelligibility, is taken."""
    voice_text: str | None = None
    """What is said in the prompt; without it a phone recogniser listens."""
    continuation: bool = False
    """Go on in the prompt's own sentence, in place of beginning another."""
    chunk_seconds: float = 0.0
    """Sound that a stream yields at a time while a piece is still being made; 0: whole pieces."""
    match_timbre: bool | None = None
    """Filter whole pieces so that each kind of sound has the spectrum that it has in the prompt, or
    in that of the timbre; none is the system's own. All that speak texts have it; editors, and
    streams of chunks, do not."""


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """What a system renders for one piece of text.

    ``samples`` is ``(S,)`` float32 in [-1, 1]; ``durations_frames[n]`` is the length of
    ``symbols[n]``; ``f0_hz`` is ``(T,)``, zero where unvoiced. ``notes`` are figures about how it
    was made, such as ``cut``: 1 where a limit of length ended it.
    """

    samples: "np.ndarray"
    symbols: tuple[str, ...]
    durations_frames: tuple[int, ...]
    f0_hz: "np.ndarray"
    notes: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Revision:
    """What is said in a recording of T frames, and what is to be said in its place."""

    symbols: tuple[str, ...]
    """Symbols that are said."""
    durations_frames: tuple[int, ...]
    """Frames of each, T in all."""
    new_symbols: tuple[str, ...]
    """Symbols to be said."""
    new_durations_frames: tuple[int | None, ...]
    """Frames of each; none where the system decides."""
    sources: tuple[int | None, ...]
    """For each new symbol the one of ``symbols`` whose frames stay as they are, ascending, which
    has the same duration; none where frames are to be made."""


@runtime_checkable
class Codec(Protocol):
    """Waveform to code stacks and continuous latents, and back."""

    rate_hz: int
    hop_samples: int

    def encode(self, waveform: "Tensor") -> "Tensor":
        """Map ``(B, S)`` to codes ``(B, Q, T)`` int64."""

    def embed(self, codes: "Tensor") -> "Tensor":
        """Sum the codebook vectors: ``(B, Q, T)`` to the latent ``(B, T, D)``."""

    def decode(self, latent: "Tensor") -> "Tensor":
        """Map the latent ``(B, T, D)`` to a waveform ``(B, T * hop)``."""


class Synthesizer(Protocol):
    """A text-to-speech system below the level of texts: symbols and a prompt to samples."""

    name: str
    rate_hz: int
    hop_samples: int
    option_names: frozenset[str]
    """Fields of ``SpeakOptions`` that it reads itself. With ``voice_text`` among them
    ``encode_prompt`` takes the symbols of the prompt as well; with ``chunk_seconds`` there is
    ``stream``, whose arguments are those of ``render`` and whose parts joined are one piece."""

    def encode_prompt(self, waveform: "Tensor") -> Any:
        """Turn a prompt ``(S,)`` at ``rate_hz`` into whatever the system conditions on."""

    def render(
        self, symbols: Sequence[str], prompt: Any, options: SpeakOptions, generator: "Generator"
    ) -> Utterance:
        """Speak one piece of text, given as vocabulary symbols."""


@runtime_checkable
class Blender(Protocol):
    """A synthesizer that can read single attributes off prompts of their own."""

    attributes: frozenset[str]
    """Which can be of another prompt: some of ``duration``, ``prosody`` and ``timbre``."""

    def blend(self, prompt: Any, **others: Any) -> Any:
        """Take attributes from other prompts, each given by its name; all are encoded ones."""


class Converter(Protocol):
    """Speech to the same speech in another voice, below the level of files."""

    name: str
    rate_hz: int
    hop_samples: int
    context_frames: int
    """Frames on each side that a sample of the result may depend on, so that long recordings can
    be converted in parts."""

    def encode_voice(self, waveform: "Tensor") -> Any:
        """Turn a prompt ``(S,)`` at ``rate_hz`` into a voice."""

    def contrast(self, voice: Any, own: Any) -> Any:
        """Move a voice away from that of what is converted, as far as the converter is to go."""

    def convert(self, waveform: "Tensor", voice: Any) -> "Tensor":
        """Say ``(S,)``, S a multiple of the hop, in that voice: ``(S,)``."""


@runtime_checkable
class Editor(Protocol):
    """A system that makes parts of a recording anew so that they fit what stays."""

    name: str
    rate_hz: int
    hop_samples: int
    option_names: frozenset[str]
    """Fields of ``SpeakOptions`` that it reads."""
    context_frames: int
    """Frames of what stays that it reads beside changes, at the most."""

    def edit(
        self,
        waveform: "Tensor",
        revision: Revision,
        options: SpeakOptions,
        generator: "Generator",
    ) -> Utterance:
        """Render the revised recording whole; only what was to be made will be used of it.

        Args:
            waveform: ``(S,)`` at ``rate_hz``, the recording, S a multiple of the hop.
            revision: what is said in it and what is to be said.
            options: of the call.
            generator: source of all randomness.

        Returns:
            the new symbols, with the durations of the revision where it gives them.
        """


@dataclass(frozen=True)
class PhaseResult:
    """What one phase of an objective returns.

    ``losses`` are weighted scalars that the loop sums and differentiates; ``logs`` are detached
    figures to record; ``carry`` is handed to the next phase of the same step.
    """

    losses: "Mapping[str, Tensor]"
    logs: Mapping[str, float] = field(default_factory=dict)
    carry: Any = None


@runtime_checkable
class Objective(Protocol):
    """What is trained: a module whose forward computes the losses of one phase.

    A plain model has one phase; a GAN has ``("generator", "discriminator")``. An objective is a
    ``torch.nn.Module``, so that distributed wrappers see every forward pass.
    """

    phases: tuple[str, ...]

    def parameters_of(self, phase: str) -> "list[nn.Parameter]":
        """Return the parameters that this phase's optimizer steps."""

    def forward(self, phase: str, batch: Mapping[str, Any], step: int, carry: Any) -> PhaseResult:
        """Compute the losses of ``phase`` on ``batch``."""

    def trained(self) -> "nn.Module":
        """Return the module whose weights are released, and averaged by EMA."""


class BatchSource(Protocol):
    """Batches as a pure function of the step, so that training resumes bit for bit."""

    def batch(self, step: int, rank: int, world: int) -> dict[str, Any]:
        """Return the training batch of ``step`` for process ``rank`` of ``world``."""

    def validation(self) -> Iterator[dict[str, Any]]:
        """Yield the fixed validation batches."""
