"""Configuration of NaturalSpeech 3."""

from dataclasses import dataclass, field, replace
from math import inf
from typing import Literal

from parlando.contracts import ConfigError
from parlando.generative.masking import MaskedSampling, find_schedule


@dataclass(frozen=True, kw_only=True)
class NaturalSpeech3Config:
    """Shape of NaturalSpeech 3; the defaults are the paper's (appendix B)."""

    levels: int = 6
    """Codes of a frame, lowest first: of FACodec one of prosody, two of content, three of
    detail."""
    codebook_size: int = 1024
    """Entries of every codebook."""
    phone_prosody: bool = True
    """Draw one prosody code for each phone before its duration; off over codes that are not
    factorized (the row "- factorization")."""
    longest_phone_frames: int = 127
    """Longest duration that has a class; a longer pause is read as several."""
    longest_prompt_frames: int = 2400
    """Of a longer prompt the first so many frames are read."""
    duration_objective: Literal["diffusion", "regression"] = "diffusion"
    """How durations are learnt; ``regression`` is an ablation of table 11."""
    duration_reads_prosody: bool = True
    """Durations know the prosody of phones; off is an ablation of table 11."""
    duration_reads_prompt: bool = True
    """Durations know the prompt; off is an ablation of table 11."""
    sampling: MaskedSampling = field(default_factory=MaskedSampling)
    """Steps of each process and randomness, where a call does not say."""
    guidance: float = 1.0
    """Strength of guidance where a call does not say; durations have none."""
    guidance_rescale: float = 1.0
    """Share of the rescaled logits where a call does not say."""
    match_timbre: bool = False
    """Filter what is spoken so that each kind of sound has the spectrum that it has in the prompt,
    where a call does not say (not in the paper)."""
    phoneme_width: int = 512
    """Channels of the phoneme encoder."""
    phoneme_layers: int = 6
    """Its Transformer layers."""
    phoneme_heads: int = 8
    """Its attention heads."""
    phoneme_filter_width: int = 2048
    """Inner width of its feed-forward networks."""
    phoneme_kernel: int = 9
    """Kernel of those."""
    width: int = 1024
    """Channels of both diffusion networks."""
    heads: int = 8
    """Their attention heads."""
    filter_width: int = 2048
    """Inner width of their feed-forward networks."""
    kernel: int = 3
    """Kernel of those."""
    phone_layers: int = 6
    """Layers of the network for phones: prosody and durations."""
    frame_layers: int = 12
    """Layers of the network for frames, shared by all attributes."""
    dropout: float = 0.1
    """Dropout everywhere."""

    def __post_init__(self) -> None:
        for name in ("levels", "longest_phone_frames", "longest_prompt_frames"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; give 1 or more")
        if self.duration_objective not in ("diffusion", "regression"):
            raise ConfigError(
                f"duration_objective is {self.duration_objective!r}; "
                "choose 'diffusion' or 'regression'"
            )
        # Otherwise of a prompt whose first symbol is a long one nothing would be read.
        if self.longest_prompt_frames < self.longest_phone_frames:
            raise ConfigError(
                f"longest_prompt_frames is {self.longest_prompt_frames}; give "
                f"longest_phone_frames, {self.longest_phone_frames}, or more"
            )
        for width, heads in (("phoneme_width", "phoneme_heads"), ("width", "heads")):
            channels, count = getattr(self, width), getattr(self, heads)
            # Positions turn pairs of channels of each head.
            if channels < 1 or count < 1 or channels % (2 * count):
                raise ConfigError(
                    f"{width} is {channels} with {heads} {count}; give a multiple of twice the "
                    "heads"
                )
        for name, most in (("guidance", 20.0), ("guidance_rescale", 1.0)):
            if not 0.0 <= getattr(self, name) <= most:
                raise ConfigError(f"{name} is {getattr(self, name)}; give 0 to {most:g}")


@dataclass(frozen=True, kw_only=True)
class NaturalSpeech3ObjectiveConfig:
    """Weights and probabilities of the objective."""

    schedule: str = "sine"
    """Share of codes that is hidden, by time (section 3.3)."""
    drop_prompt: float = 0.15
    """Probability of training an item without its prompt, for guidance."""
    edit_share: float = 0.0
    """Share of items of which only a span is drawn, with codes on both sides, for editing (not in
    the paper)."""
    level_weights: tuple[float, ...] = ()
    """How often each level of frames is learnt; none: all alike."""
    phone_prosody_weight: float = 1.0
    """Weight of the prosody of phones beside the frames."""
    duration_weight: float = 1.0
    """Weight of durations beside the frames."""
    codebook_start: bool = True
    """Start the embeddings of frames at projected vectors of the codec (not in the paper)."""

    def __post_init__(self) -> None:
        find_schedule(self.schedule)
        for name in ("drop_prompt", "edit_share"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ConfigError(f"{name} is {getattr(self, name)}; give 0 or more, below 1")
        for name in ("phone_prosody_weight", "duration_weight"):
            if not 0.0 <= getattr(self, name) < inf:
                raise ConfigError(f"{name} is {getattr(self, name)}; give 0 or more")
        weights = self.level_weights
        if not all(0.0 <= weight < inf for weight in weights) or (weights and not any(weights)):
            raise ConfigError(f"level_weights are {weights}; give 0 or more, one above 0")


def paper() -> NaturalSpeech3Config:
    """Return the paper's shape, 395 million parameters; the paper says about 500, all told."""
    return NaturalSpeech3Config()


def paper_1b() -> NaturalSpeech3Config:
    """Return the paper's larger shape, with 24 layers for frames (section 4.5), 596 million."""
    return NaturalSpeech3Config(frame_layers=24)


def small() -> NaturalSpeech3Config:
    """Return a shape for two CPU cores, about seven million parameters."""
    return NaturalSpeech3Config(
        phoneme_width=192,
        phoneme_layers=2,
        phoneme_heads=3,
        phoneme_filter_width=288,
        phoneme_kernel=5,
        width=192,
        heads=3,
        filter_width=336,
        phone_layers=2,
        frame_layers=5,
        longest_prompt_frames=320,
        dropout=0.0,
        match_timbre=True,
    )


def soundstorm() -> NaturalSpeech3Config:
    """Return ``small`` over the plain codes of ``rvq-small``: the row "- factorization".

    Source: NaturalSpeech 3, table 3: durations, then the levels of a residual codec, coarse to
    fine, by the same diffusion (as SoundStorm, arXiv 2305.09636).
    """
    return replace(small(), levels=12, phone_prosody=False)


def tiny() -> NaturalSpeech3Config:
    """Return a shape for tests."""
    return NaturalSpeech3Config(
        levels=4,
        codebook_size=16,
        longest_phone_frames=15,
        longest_prompt_frames=200,
        phoneme_width=16,
        phoneme_layers=1,
        phoneme_heads=2,
        phoneme_filter_width=16,
        phoneme_kernel=3,
        width=16,
        heads=2,
        filter_width=24,
        phone_layers=1,
        frame_layers=2,
        dropout=0.0,
    )
