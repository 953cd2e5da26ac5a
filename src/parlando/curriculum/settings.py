"""What a recipe says under ``[objective]`` and ``[data]``, for each kind of training."""

from dataclasses import dataclass, field, replace

from parlando.codecs.facodec import config as facodec_config
from parlando.codecs.rvq import config as rvq_config
from parlando.contracts import ConfigError
from parlando.data.prompts import PromptOptions
from parlando.systems.naturalspeech2 import config as naturalspeech2_config
from parlando.systems.naturalspeech3 import config as naturalspeech3_config
from parlando.systems.valle2 import config as valle2_config


@dataclass(frozen=True, kw_only=True)
class CropData:
    """Random crops of audio, for codecs."""

    crop_frames: int = 64
    """Frames of one crop."""
    source_weights: dict[str, float] = field(default_factory=dict)
    """How often a source comes relative to its size."""
    voice_weight: float = 0.0
    """The same for voices made by resampling; 0 leaves them out."""
    disguise_share: float = 0.0
    """Share of crops whose codes come of another voice (factorized codecs only)."""


@dataclass(frozen=True, kw_only=True)
class UtteranceData:
    """Whole utterances, for aligners and systems."""

    source_weights: dict[str, float] = field(default_factory=dict)
    """How often a source comes relative to its size."""
    voice_weight: float = 1.0
    """The same for voices made by resampling."""
    shortest_frames: int = 60
    """Shorter utterances are left out."""
    longest_frames: int = 960
    """Longer utterances are left out."""
    prompts: PromptOptions = field(default_factory=PromptOptions)
    """Where voice prompts come from (systems only)."""
    waveform: bool = False
    """Read waveforms beside the codes (systems whose condition is measured in them)."""
    grid_frames: int = 1
    """Pad batches to multiples of so many frames, such as 64 on a GPU."""

    def __post_init__(self) -> None:
        if self.grid_frames < 1:
            raise ConfigError(f"grid_frames is {self.grid_frames}; give 1 or more")


@dataclass(frozen=True, kw_only=True)
class AlignerObjectiveConfig:
    """Weights of the aligner's objective."""

    prior_steps: int = 1000
    """Steps over which the diagonal prior loosens."""
    recogniser_weight: float = 1.0
    """Weight of the CTC loss beside the forward-sum loss."""


@dataclass(frozen=True, kw_only=True)
class CodecObjectiveConfig:
    """One stage of training a codec."""

    loss: rvq_config.RVQObjectiveConfig = field(default_factory=rvq_config.RVQObjectiveConfig)
    """Stage, weights, critics."""
    fit_frames: int = 0
    """Latent frames to fit the codebooks to by k-means before the first step; 0: do not."""


@dataclass(frozen=True, kw_only=True)
class FACodecStageConfig:
    """One stage of training the factorized codec."""

    loss: facodec_config.FACodecObjectiveConfig = field(
        default_factory=facodec_config.FACodecObjectiveConfig
    )
    """Stage, means of disentanglement, weights, critics."""
    start: str = ""
    """Released ``rvq`` codec, or folder of one, whose encoder and decoder a new run starts from."""
    fit_frames: int = 0
    """Frames to fit the codebooks to by k-means before the first step; 0: do not."""


@dataclass(frozen=True, kw_only=True)
class SystemObjectiveConfig:
    """Objective of NaturalSpeech 2 on a codec."""

    loss: naturalspeech2_config.NaturalSpeech2ObjectiveConfig = field(
        default_factory=naturalspeech2_config.NaturalSpeech2ObjectiveConfig
    )
    """Weights of its terms."""
    codec: str = "rvq-small"
    """Released codec, or folder of one, whose codes the corpus holds."""


@dataclass(frozen=True, kw_only=True)
class LanguageObjectiveConfig:
    """Objective of VALL-E 2 on a codec."""

    loss: valle2_config.VALLE2ObjectiveConfig = field(
        default_factory=valle2_config.VALLE2ObjectiveConfig
    )
    """Weights of its terms."""
    codec: str = "rvq-small"
    """Released codec, or folder of one, whose codes the corpus holds."""


@dataclass(frozen=True, kw_only=True)
class LanguageData(UtteranceData):
    """Whole utterances after a prompt whose text is known, for language models of codes.

    The defaults are for the paper's shape; see :func:`language_data`.
    """

    longest_symbols: int = 1200
    """Utterances of more symbols are left out."""
    prompts: PromptOptions = field(
        default_factory=lambda: PromptOptions(joined_frames=(240, 2400), leading=True, symbols=True)
    )
    """Where conditions of 3 to 30 s come from."""


def language_data(config: valle2_config.VALLE2Config) -> LanguageData:
    """Return what a model learns from by default: prompts no longer than those it will be given."""
    plain, longest = LanguageData(), config.longest_prompt_frames
    low, high = plain.prompts.joined_frames
    joined_frames = (min(low, longest), min(high, longest))
    return replace(
        plain,
        longest_symbols=config.longest_symbols,
        prompts=replace(plain.prompts, joined_frames=joined_frames),
    )


def check_language_data(config: valle2_config.VALLE2Config, data: LanguageData) -> None:
    """Refuse utterances that a model cannot read after their prompts.

    Raises:
        ConfigError: they have too many frames or symbols.
    """
    longest_prompt = data.prompts.joined_frames[1]
    if longest_prompt + data.longest_frames > config.longest_frames:
        raise ConfigError(
            f"prompts of {longest_prompt} frames and utterances of {data.longest_frames} do not "
            f"fit into the model's {config.longest_frames}; lower prompts.joined_frames or "
            "longest_frames in the recipe's [data], or raise longest_frames in its [model]"
        )
    if data.longest_symbols > config.longest_symbols:
        raise ConfigError(
            f"utterances of {data.longest_symbols} symbols do not fit into the model's "
            f"{config.longest_symbols}; lower longest_symbols in the recipe's [data], or raise it "
            "in its [model]"
        )


@dataclass(frozen=True, kw_only=True)
class FactorizedObjectiveConfig:
    """Objective of NaturalSpeech 3 on a codec."""

    loss: naturalspeech3_config.NaturalSpeech3ObjectiveConfig = field(
        default_factory=naturalspeech3_config.NaturalSpeech3ObjectiveConfig
    )
    """Weights of its terms."""
    codec: str = "facodec-small"
    """Released codec, or folder of one, whose codes the corpus holds."""


@dataclass(frozen=True, kw_only=True)
class FactorizedData(UtteranceData):
    """Whole utterances after a prompt whose phones and durations are known."""

    prompts: PromptOptions = field(default_factory=lambda: PromptOptions(symbols=True))
    """Where prompts come from."""
