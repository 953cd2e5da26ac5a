"""What can be trained: for each kind its presets, its objective, its data and its settings.

``parlando train`` reads this table. A recipe changes the preset's
``[model]``, ``[objective]``, ``[data]`` and ``[training]`` by naming differences only.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from parlando.aligner import config as aligner_config
from parlando.codecs.facodec import config as facodec_config
from parlando.codecs.rvq import config as rvq_config
from parlando.contracts import BatchSource, ConfigError
from parlando.data.dataset import AudioCrops, Utterances
from parlando.data.prompts import PromptOptions
from parlando.data.store import PreparedCorpus
from parlando.recipes import check_names, overridden
from parlando.systems.naturalspeech2 import config as naturalspeech2_config
from parlando.systems.naturalspeech3 import config as naturalspeech3_config
from parlando.systems.valle2 import config as valle2_config
from parlando.training.checkpoint import STATE_NAME, load_state, load_weights
from parlando.training.config import Trainable, TrainConfig


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
    """Whole utterances after a prompt whose text is known, for language models of codes."""

    prompts: PromptOptions = field(
        default_factory=lambda: PromptOptions(joined_frames=(240, 2400), leading=True, symbols=True)
    )
    """Where conditions of 3 to 30 s come from."""


# Of the sample that tells the main directions of a codec's latents.
_START_FRAMES = 20_000


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


Build = Callable[[Any, Any, Path, Path | None], nn.Module]
Feed = Callable[[Any, Path, TrainConfig], BatchSource]


@dataclass(frozen=True)
class _Kind:
    presets: Mapping[str, Callable[[], Any]]
    objective: Callable[[], Any]
    data: Callable[[], Any]
    training: TrainConfig
    build: Build
    feed: Feed


def trainable(kind: str, preset: str, recipe: Mapping[str, Any] | None = None) -> Trainable:
    """Resolve what ``parlando train KIND PRESET`` trains.

    Args:
        kind: ``aligner``, ``codec``, ``facodec``, ``naturalspeech2``, ``naturalspeech3`` or
            ``valle2``.
        preset: one of that kind's presets.
        recipe: sections ``model``, ``objective`` and ``data`` with differences.

    Raises:
        ConfigError: a name or a value is not known; the message names the nearest one.
    """
    check_names([kind], list(_KINDS), "what can be trained")
    entry = _KINDS[kind]
    check_names([preset], list(entry.presets), f"the presets of {kind}")
    sections = recipe or {}
    config = overridden(entry.presets[preset](), sections.get("model", {}), "model")
    objective = overridden(entry.objective(), sections.get("objective", {}), "objective")
    data = overridden(entry.data(), sections.get("data", {}), "data")
    return Trainable(
        config=config,
        build_objective=lambda folder, init: entry.build(config, objective, folder, init),
        build_source=lambda folder, training: entry.feed(data, folder, training),
        training=entry.training,
        sections={"objective": objective, "data": data},
    )


def _build_aligner(
    config: aligner_config.AlignerConfig,
    objective: AlignerObjectiveConfig,
    data: Path,
    init: Path | None,
) -> nn.Module:
    from parlando.aligner.model import Aligner
    from parlando.aligner.objective import AlignerObjective

    aligner = Aligner(config)
    if init is not None:
        load_weights(init, aligner)
    return AlignerObjective(
        aligner,
        prior_steps=objective.prior_steps,
        recogniser_weight=objective.recogniser_weight,
    )


def _build_codec(
    config: rvq_config.RVQConfig, objective: CodecObjectiveConfig, data: Path, init: Path | None
) -> nn.Module:
    from parlando.codecs.rvq.model import build_rvq
    from parlando.codecs.rvq.objective import build_rvq_objective

    codec = build_rvq(config).to(_fitting_place())
    if init is not None:
        load_weights(init, codec)
        codec.quantizer.restart_statistics()
    if objective.fit_frames:
        codec.fit(_some_crops(data, objective.fit_frames))
    return build_rvq_objective(codec, objective.loss)


def _build_facodec(
    config: facodec_config.FACodecConfig,
    objective: FACodecStageConfig,
    data: Path,
    init: Path | None,
) -> nn.Module:
    from parlando.codecs.facodec.model import build_facodec
    from parlando.codecs.facodec.objective import build_facodec_objective
    from parlando.registry import load_codec
    from parlando.text.vocabulary import PHONE_CLASSES

    codec = build_facodec(config).to(_fitting_place())
    if init is not None:
        load_weights(init, codec)
        codec.restart_statistics()
    elif objective.start:
        given = load_codec(objective.start, _fitting_place())
        crops = _some_crops(data, _START_FRAMES)
        codec.start_from(given.encoder, given.decoder, crops, objective.loss.level_bits)
    if objective.fit_frames:
        codec.fit(_some_crops(data, objective.fit_frames))
    speakers = {row["speaker"] for row in PreparedCorpus(data).rows}
    trained = build_facodec_objective(
        codec, objective.loss, phones=len(PHONE_CLASSES), speakers=len(speakers)
    )
    if init is not None and (init / STATE_NAME).is_file():
        trained.take_readers(load_state(init)["objective"])
    return trained


def _fitting_place() -> str:
    """Say where codebooks are fitted before training moves a codec to its own device."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def _some_crops(data: Path, frames: int) -> list[Tensor]:
    source = AudioCrops(PreparedCorpus(data), batch_size=32, crop_frames=64, seed=1)
    batches = -(-frames // (32 * 64))
    return [source.batch(step, 0, 1)["waveform"] for step in range(batches)]


def _build_naturalspeech2(
    config: naturalspeech2_config.NaturalSpeech2Config,
    objective: SystemObjectiveConfig,
    data: Path,
    init: Path | None,
) -> nn.Module:
    from parlando.generative.diffusion import VPSchedule
    from parlando.registry import load_codec
    from parlando.systems.naturalspeech2.model import NaturalSpeech2
    from parlando.systems.naturalspeech2.objective import NaturalSpeech2Objective
    from parlando.text.vocabulary import SYMBOLS

    codec = load_codec(objective.codec)
    if config.latent_width != len(codec.latent_mean):
        raise ConfigError(
            f"the codec {objective.codec} has latents of width {len(codec.latent_mean)}, the "
            f"preset expects {config.latent_width}; set latent_width in the recipe's [model]"
        )
    model = NaturalSpeech2(config, len(SYMBOLS))
    if init is not None:
        load_weights(init, model)
    speakers = {row["speaker"] for row in PreparedCorpus(data).rows}
    return NaturalSpeech2Objective(
        model,
        codec,
        codec.quantizer.codebooks,
        objective.loss,
        VPSchedule(),
        speakers=len(speakers),
    )


def _build_valle2(
    config: valle2_config.VALLE2Config,
    objective: LanguageObjectiveConfig,
    data: Path,
    init: Path | None,
) -> nn.Module:
    from parlando.codecs.codes import code_shape, fits
    from parlando.codecs.facodec.model import FACodec
    from parlando.registry import load_any_codec
    from parlando.systems.valle2.model import VALLE2
    from parlando.systems.valle2.objective import VALLE2Objective
    from parlando.text.vocabulary import SYMBOLS

    codec = load_any_codec(objective.codec)
    levels, size = code_shape(codec)
    if not fits(codec, config.levels, config.codebook_size):
        raise ConfigError(
            f"the codec {objective.codec} has {levels} levels of {size} codes, the preset reads "
            f"{config.levels} of {config.codebook_size}; set levels and codebook_size in the "
            "recipe's [model]"
        )
    model = VALLE2(config, len(SYMBOLS))
    if init is not None:
        load_weights(init, model)
    elif objective.loss.codebook_start:
        if isinstance(codec, FACodec):
            vectors = torch.stack([codec.codebook_vectors(level) for level in range(levels)])
        else:
            vectors = codec.quantizer.codebooks
        model.start_from_codebooks(vectors)
    return VALLE2Objective(model, objective.loss)


def _build_naturalspeech3(
    config: naturalspeech3_config.NaturalSpeech3Config,
    objective: FactorizedObjectiveConfig,
    data: Path,
    init: Path | None,
) -> nn.Module:
    from parlando.codecs.facodec.model import FACodec
    from parlando.nn.factorized import sphere
    from parlando.registry import load_any_codec
    from parlando.systems.naturalspeech3.model import NaturalSpeech3
    from parlando.systems.naturalspeech3.objective import NaturalSpeech3Objective
    from parlando.text.vocabulary import SYMBOLS

    codec = load_any_codec(objective.codec)
    if isinstance(codec, FACodec):
        levels, size = codec.levels, codec.codebook_size
        vectors = [codec.codebook_vectors(level) for level in range(levels)]
        prosody_entries = sphere(codec.quantizer("prosody").codebooks[0])
        names = [
            f"{name}_{number + 1}" if at.stop - at.start > 1 else name
            for name, at in codec.levels_of.items()
            for number in range(at.stop - at.start)
        ]
    else:
        vectors, prosody_entries, names = list(codec.quantizer.codebooks), None, []
        levels, size = len(vectors), len(vectors[0])
    if config.levels > levels or config.codebook_size != size:
        raise ConfigError(
            f"the codec {objective.codec} has {levels} levels of {size} codes, the "
            f"preset reads {config.levels} of {config.codebook_size}; set levels and "
            "codebook_size in the recipe's [model]"
        )
    model = NaturalSpeech3(config, len(SYMBOLS))
    if init is not None:
        load_weights(init, model)
    elif objective.loss.codebook_start:
        model.frames.start_from_vectors(vectors)
    return NaturalSpeech3Objective(model, objective.loss, prosody_entries, names)


def _feed_crops(
    data: CropData, folder: Path, training: TrainConfig, labelled: bool = False
) -> BatchSource:
    corpus = PreparedCorpus(folder)
    crop_seconds = data.crop_frames * corpus.hop_samples / corpus.rate_hz
    return AudioCrops(
        corpus,
        batch_size=max(1, round(training.batch_seconds / crop_seconds)),
        crop_frames=data.crop_frames,
        seed=training.seed,
        source_weights=data.source_weights,
        voice_weight=data.voice_weight,
        labelled=labelled,
        disguise_share=data.disguise_share,
        validation_batches=2,
    )


def _feed_labelled_crops(data: CropData, folder: Path, training: TrainConfig) -> BatchSource:
    return _feed_crops(data, folder, training, labelled=True)


def _feed_utterances(
    parts: tuple[str, ...], prompted: bool
) -> Callable[[UtteranceData, Path, TrainConfig], BatchSource]:
    def feed(data: UtteranceData, folder: Path, training: TrainConfig) -> BatchSource:
        corpus = PreparedCorpus(folder)
        return Utterances(
            corpus,
            batch_frames=round(training.batch_seconds * corpus.rate_hz / corpus.hop_samples),
            parts=(*parts, "waveform") if data.waveform and "waveform" not in parts else parts,
            seed=training.seed,
            source_weights=data.source_weights,
            voice_weight=data.voice_weight,
            shortest_frames=data.shortest_frames,
            longest_frames=data.longest_frames,
            prompts=data.prompts if prompted else None,
            validation_batches=4,
            grid=data.grid_frames,
        )

    return feed


_KINDS: dict[str, _Kind] = {
    "aligner": _Kind(
        presets={"small": aligner_config.small, "tiny": aligner_config.tiny},
        objective=AlignerObjectiveConfig,
        data=UtteranceData,
        training=TrainConfig(
            steps=20_000,
            batch_seconds=48.0,
            learning_rate=1e-3,
            schedule="constant",
            cooldown_fraction=0.4,
            precision="bf16",
            ema_decay=0.995,
        ),
        build=_build_aligner,
        feed=_feed_utterances(("waveform", "symbols"), prompted=False),
    ),
    "codec": _Kind(
        presets={
            "paper": rvq_config.paper,
            "small": rvq_config.small,
            "tiny": rvq_config.tiny,
        },
        objective=CodecObjectiveConfig,
        data=CropData,
        training=TrainConfig(
            steps=100_000,
            batch_seconds=12.8,
            learning_rate=1e-3,
            betas=(0.8, 0.99),
            schedule="constant",
            cooldown_fraction=0.5,
            precision="bf16",
        ),
        build=_build_codec,
        feed=_feed_crops,
    ),
    "facodec": _Kind(
        presets={
            "paper": facodec_config.paper,
            "small": facodec_config.small,
            "tiny": facodec_config.tiny,
        },
        objective=FACodecStageConfig,
        data=CropData,
        training=TrainConfig(
            steps=800_000,
            batch_seconds=9.6,
            learning_rate=1e-3,
            betas=(0.8, 0.99),
            schedule="constant",
            cooldown_fraction=0.5,
            gradient_clip=10.0,
            precision="bf16",
        ),
        build=_build_facodec,
        feed=_feed_labelled_crops,
    ),
    "naturalspeech2": _Kind(
        presets={
            "paper": naturalspeech2_config.paper,
            "small": naturalspeech2_config.small,
            "tiny": naturalspeech2_config.tiny,
        },
        objective=SystemObjectiveConfig,
        data=UtteranceData,
        training=TrainConfig(
            steps=300_000,
            batch_seconds=30.0,
            learning_rate=1e-3,
            warmup_steps=500,
            schedule="constant",
            cooldown_fraction=0.3,
            precision="bf16",
        ),
        build=_build_naturalspeech2,
        feed=_feed_utterances(("symbols", "durations", "codes", "f0", "voiced"), prompted=True),
    ),
    "naturalspeech3": _Kind(
        presets={
            "paper": naturalspeech3_config.paper,
            "paper_1b": naturalspeech3_config.paper_1b,
            "small": naturalspeech3_config.small,
            "soundstorm": naturalspeech3_config.soundstorm,
            "tiny": naturalspeech3_config.tiny,
        },
        objective=FactorizedObjectiveConfig,
        data=FactorizedData,
        training=TrainConfig(
            steps=1_000_000,
            batch_seconds=125.0,
            learning_rate=1e-4,
            betas=(0.9, 0.98),
            warmup_steps=5_000,
            schedule="inverse_square_root",
            precision="bf16",
        ),
        build=_build_naturalspeech3,
        feed=_feed_utterances(("symbols", "durations", "codes", "f0"), prompted=True),
    ),
    "valle2": _Kind(
        presets={
            "paper": valle2_config.paper,
            "small": valle2_config.small,
            "tiny": valle2_config.tiny,
            "valle": valle2_config.valle,
        },
        objective=LanguageObjectiveConfig,
        data=LanguageData,
        training=TrainConfig(
            steps=800_000,
            batch_seconds=80.0,
            learning_rate=5e-4,
            warmup_steps=32_000,
            schedule="constant",
            cooldown_fraction=0.96,  # linear decay from the end of the warm-up
            precision="bf16",
        ),
        build=_build_valle2,
        feed=_feed_utterances(("symbols", "durations", "codes", "f0"), prompted=True),
    ),
}
