"""Configuration of VALL-E 2, and of VALL-E, which is a preset of the same classes."""

from dataclasses import dataclass, field
from math import inf
from typing import Any

from parlando.contracts import ConfigError


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """Shape of one of the two transformers; the defaults are the paper's."""

    width: int = 1024
    """Channels D."""
    layers: int = 12
    """Number of layers."""
    heads: int = 16
    """Attention heads."""
    filter_width: int = 4096
    """Inner channels of the feed-forward networks."""
    dropout: float = 0.1
    """Dropout everywhere."""

    def __post_init__(self) -> None:
        if self.width < 1 or self.heads < 1 or self.width % self.heads:
            raise ConfigError(
                f"width is {self.width} with {self.heads} heads; expected a multiple of the heads"
            )
        _check_counts(self, "layers", "filter_width")
        if not 0.0 <= self.dropout < 1.0:
            raise ConfigError(f"dropout is {self.dropout}; give 0 or more, below 1")


@dataclass(frozen=True, kw_only=True)
class VALLE2Config:
    """Shape of VALL-E 2; the defaults are the paper's, with G = 1 of its four."""

    group: int = 1
    """Codes G of a group, 1 to 8: the paper's are 1, 2, 4 and 8."""
    levels: int = 8
    """Levels of the codec that are modelled: the first autoregressively, the others not."""
    level_order: tuple[int, ...] = ()
    """The codec's levels, counted from 0, in the order in which they are modelled; by default the
    codec's. Levels of a factorized codec have no order of their own (not in the paper)."""
    codebook_size: int = 1024
    """Entries of each codebook."""
    autoregressive: TransformerConfig = field(default_factory=TransformerConfig)
    """The network of the first level."""
    nonautoregressive: TransformerConfig = field(default_factory=TransformerConfig)
    """The network of the other levels."""
    longest_frames: int = 4800
    """Frames for which there are learned positions, prompt included."""
    longest_symbols: int = 1200
    """Symbols for which there are learned positions, those of the prompt included."""
    longest_prompt_frames: int = 2400
    """Of a longer prompt so many frames are used: the first, or in a continuation the last."""
    repetition_window: int = 10
    """Window of repetition-aware sampling where a call does not say; 0 is plain sampling."""
    top_p: float = 0.8
    """Nucleus where a call does not say."""
    end_threshold: float = 0.0
    """Probability below which speech does not end, where a call does not say; 0 as in the paper."""
    guidance: float = 0.0
    """Guidance on the text where a call does not say; 0 is none, as in the paper."""
    match_timbre: bool = False
    """Filter what is spoken so that each kind of sound has the spectrum that it has in the prompt,
    where a call does not say (not in the paper)."""
    text_prenet: int = 0
    """Symbols that the convolution over embedded texts spans, an odd number; 0 is none, as in the
    paper."""
    code_prenet: int = 0
    """The same for groups, this one and those before, and for frames of the other levels, which
    it has in its middle; also an odd number."""
    watched_layers: tuple[int, ...] = ()
    """Autoregressive layers whose first heads can be taught to look at the phone that is to be
    spoken (not in the paper, see the docs page); they ascend."""

    def __post_init__(self) -> None:
        if not 1 <= self.group <= 8 or self.levels < 2:
            raise ConfigError(
                f"group is {self.group} and levels {self.levels}; expected 1 to 8, and 2 or more"
            )
        if self.level_order and sorted(self.level_order) != list(range(self.levels)):
            raise ConfigError(
                f"level_order is {self.level_order}; expected each of 0 to {self.levels - 1} once"
            )
        _check_counts(self, "codebook_size", "longest_symbols")
        if not 0 < self.longest_prompt_frames < self.longest_frames:
            raise ConfigError(
                f"longest_prompt_frames is {self.longest_prompt_frames}; expected 1 to "
                f"{self.longest_frames - 1}, so that there is room to speak"
            )
        for name in ("text_prenet", "code_prenet"):
            if (span := getattr(self, name)) < 0 or (span and span % 2 == 0):
                raise ConfigError(f"{name} is {span}; give an odd number, or 0 for none")
        if self.repetition_window < 0:
            raise ConfigError(f"repetition_window is {self.repetition_window}; give 0 or more")
        if not 0.0 <= self.guidance < inf:
            raise ConfigError(f"guidance is {self.guidance}; give 0 or more")
        for name in ("top_p", "end_threshold"):
            if not 0.0 <= (share := getattr(self, name)) <= 1.0:
                raise ConfigError(f"{name} is {share}; give 0 to 1")
        watched, last = self.watched_layers, self.autoregressive.layers - 1
        if watched != tuple(sorted(set(watched) & set(range(last + 1)))):
            raise ConfigError(f"watched_layers is {watched}; expected ascending ones, 0 to {last}")


@dataclass(frozen=True, kw_only=True)
class VALLE2ObjectiveConfig:
    """Weights and probabilities of the objective."""

    autoregressive_weight: float = 1.0
    """Weight of the first level's cross-entropy; at 0 its network is left as it is."""
    nonautoregressive_weight: float = 1.0
    """Weight of the other levels' cross-entropy; at 0 their network is left as it is."""
    prompt_weight: float = 0.0
    """Weight of the prompt's own codes in the first level's loss: 1 trains on the joined sequence
    as on one utterance, which few hours of speech need; 0 on the target alone."""
    drop_text: float = 0.1
    """Probability of hiding an item's text from the autoregressive network, for guidance."""
    alignment_weight: float = 0.0
    """Weight of showing a head of each of the ``watched_layers`` the phone that is to be spoken."""
    label_smoothing: float = 0.0
    """Of both cross-entropies."""
    codebook_start: bool = False
    """Start code embeddings at projected vectors of the codec (not in the paper)."""

    def __post_init__(self) -> None:
        for name in ("autoregressive", "nonautoregressive", "prompt", "alignment"):
            weight = getattr(self, f"{name}_weight")
            if not 0.0 <= weight < inf:
                raise ConfigError(f"{name}_weight is {weight}; give 0 or more")
        if self.alignment_weight > self.autoregressive_weight == 0.0:
            raise ConfigError(
                f"alignment_weight is {self.alignment_weight}, which trains the network whose "
                "autoregressive_weight is 0; give that more, or leave the other out"
            )
        if self.autoregressive_weight == self.nonautoregressive_weight == 0.0:
            raise ConfigError("both networks' weights are 0; give one of them more")
        for name in ("drop_text", "label_smoothing"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ConfigError(f"{name} is {getattr(self, name)}; give 0 or more, below 1")


def paper() -> VALLE2Config:
    """Return the paper's shape, with groups of two."""
    return VALLE2Config(group=2)


def valle() -> VALLE2Config:
    """Return VALL-E (2023): no groups, plain sampling from all codes, three seconds of prompt."""
    return VALLE2Config(group=1, repetition_window=0, top_p=1.0, longest_prompt_frames=240)


def small() -> VALLE2Config:
    """Return a shape for few hours of speech, less than twelve million parameters in all."""
    return VALLE2Config(
        group=2,
        autoregressive=TransformerConfig(width=256, layers=6, heads=4, filter_width=1024),
        nonautoregressive=TransformerConfig(width=192, layers=4, heads=4, filter_width=768),
        longest_frames=2000,
        longest_symbols=500,
        longest_prompt_frames=560,
        text_prenet=7,
        code_prenet=9,
        match_timbre=True,
    )


def tiny() -> VALLE2Config:
    """Return a shape for tests."""
    shape = TransformerConfig(width=16, layers=2, heads=2, filter_width=32, dropout=0.0)
    return VALLE2Config(
        group=2,
        levels=4,
        codebook_size=16,
        autoregressive=shape,
        nonautoregressive=shape,
        longest_frames=1400,
        longest_symbols=400,
        longest_prompt_frames=400,
        text_prenet=3,
        code_prenet=3,
        watched_layers=(1,),
    )


def _check_counts(config: Any, *names: str) -> None:
    for name in names:
        if getattr(config, name) < 1:
            raise ConfigError(f"{name} is {getattr(config, name)}; give 1 or more")
