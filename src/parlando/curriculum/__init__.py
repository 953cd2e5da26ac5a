"""What can be trained: for each kind its presets, its objective, its data and its settings.

``parlando train`` reads this table. A recipe changes the preset's
``[model]``, ``[objective]``, ``[data]`` and ``[training]`` by naming differences only.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from parlando.aligner import config as aligner_config
from parlando.codecs.facodec import config as facodec_config
from parlando.codecs.rvq import config as rvq_config
from parlando.contracts import BatchSource
from parlando.curriculum import builders, feeds
from parlando.curriculum.settings import (
    AlignerObjectiveConfig,
    CodecObjectiveConfig,
    CropData,
    FACodecStageConfig,
    FactorizedData,
    FactorizedObjectiveConfig,
    LanguageObjectiveConfig,
    SystemObjectiveConfig,
    UtteranceData,
    check_language_data,
    language_data,
)
from parlando.recipes import check_names, overridden
from parlando.systems.naturalspeech2 import config as naturalspeech2_config
from parlando.systems.naturalspeech3 import config as naturalspeech3_config
from parlando.systems.valle2 import config as valle2_config
from parlando.training.config import Trainable, TrainConfig

Build = Callable[[Any, Any, Path, Path | None], nn.Module]
Feed = Callable[[Any, Path, TrainConfig], BatchSource]


@dataclass(frozen=True)
class _Kind:
    presets: Mapping[str, Callable[[], Any]]
    objective: Callable[[], Any]
    data: Callable[[Any], Any]
    """The defaults for a model of some configuration."""
    training: TrainConfig
    build: Build
    feed: Feed
    check: Callable[[Any, Any], None] = lambda config, data: None
    """Refuses data that a model of some configuration cannot read."""


def trainable(kind: str, preset: str, recipe: Mapping[str, Any] | None = None) -> Trainable:
    """Resolve what ``parlando train KIND PRESET`` trains.

    Args:
        kind: ``aligner``, ``codec``, ``facodec``, ``naturalspeech2``, ``naturalspeech3`` or
            ``valle2``.
        preset: one of that kind's presets.
        recipe: sections ``model``, ``objective`` and ``data`` with differences.

    Raises:
        ConfigError: a name or a value is not known, and the message names the nearest one; or the
            model cannot read the data.
    """
    check_names([kind], list(_KINDS), "what can be trained")
    entry = _KINDS[kind]
    check_names([preset], list(entry.presets), f"the presets of {kind}")
    sections = recipe or {}
    config = overridden(entry.presets[preset](), sections.get("model", {}), "model")
    objective = overridden(entry.objective(), sections.get("objective", {}), "objective")
    data = overridden(entry.data(config), sections.get("data", {}), "data")
    entry.check(config, data)
    return Trainable(
        config=config,
        build_objective=lambda folder, init: entry.build(config, objective, folder, init),
        build_source=lambda folder, training: entry.feed(data, folder, training),
        training=entry.training,
        sections={"objective": objective, "data": data},
    )


_KINDS: dict[str, _Kind] = {
    "aligner": _Kind(
        presets={"small": aligner_config.small, "tiny": aligner_config.tiny},
        objective=AlignerObjectiveConfig,
        data=lambda _: UtteranceData(),
        training=TrainConfig(
            steps=20_000,
            batch_seconds=48.0,
            learning_rate=1e-3,
            schedule="constant",
            cooldown_fraction=0.4,
            precision="bf16",
            ema_decay=0.995,
        ),
        build=builders.build_aligner,
        feed=feeds.feed_utterances(("waveform", "symbols"), prompted=False),
    ),
    "codec": _Kind(
        presets={
            "paper": rvq_config.paper,
            "small": rvq_config.small,
            "tiny": rvq_config.tiny,
        },
        objective=CodecObjectiveConfig,
        data=lambda _: CropData(),
        training=TrainConfig(
            steps=100_000,
            batch_seconds=12.8,
            learning_rate=1e-3,
            betas=(0.8, 0.99),
            schedule="constant",
            cooldown_fraction=0.5,
            precision="bf16",
        ),
        build=builders.build_codec,
        feed=feeds.feed_crops,
    ),
    "facodec": _Kind(
        presets={
            "paper": facodec_config.paper,
            "small": facodec_config.small,
            "tiny": facodec_config.tiny,
        },
        objective=FACodecStageConfig,
        data=lambda _: CropData(),
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
        build=builders.build_facodec,
        feed=feeds.feed_labelled_crops,
    ),
    "naturalspeech2": _Kind(
        presets={
            "paper": naturalspeech2_config.paper,
            "small": naturalspeech2_config.small,
            "tiny": naturalspeech2_config.tiny,
        },
        objective=SystemObjectiveConfig,
        data=lambda _: UtteranceData(),
        training=TrainConfig(
            steps=300_000,
            batch_seconds=30.0,
            learning_rate=1e-3,
            warmup_steps=500,
            schedule="constant",
            cooldown_fraction=0.3,
            precision="bf16",
        ),
        build=builders.build_naturalspeech2,
        feed=feeds.feed_utterances(
            ("symbols", "durations", "codes", "f0", "voiced"), prompted=True
        ),
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
        data=lambda _: FactorizedData(),
        training=TrainConfig(
            steps=1_000_000,
            batch_seconds=125.0,
            learning_rate=1e-4,
            betas=(0.9, 0.98),
            warmup_steps=5_000,
            schedule="inverse_square_root",
            precision="bf16",
        ),
        build=builders.build_naturalspeech3,
        feed=feeds.feed_utterances(("symbols", "durations", "codes", "f0"), prompted=True),
    ),
    "valle2": _Kind(
        presets={
            "paper": valle2_config.paper,
            "small": valle2_config.small,
            "tiny": valle2_config.tiny,
            "valle": valle2_config.valle,
        },
        objective=LanguageObjectiveConfig,
        data=language_data,
        check=check_language_data,
        training=TrainConfig(
            steps=800_000,
            batch_seconds=80.0,
            learning_rate=5e-4,
            warmup_steps=32_000,
            schedule="constant",
            cooldown_fraction=0.96,  # linear decay from the end of the warm-up
            precision="bf16",
        ),
        build=builders.build_valle2,
        feed=feeds.feed_language,
    ),
}
