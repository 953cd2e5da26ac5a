"""Build the objective of each kind of training, from nothing or from a checkpoint."""

from pathlib import Path

import torch
from torch import Tensor, nn

from parlando.aligner import config as aligner_config
from parlando.codecs.codes import AnyCodec, code_shape, codebook_vectors, fits
from parlando.codecs.facodec import config as facodec_config
from parlando.codecs.rvq import config as rvq_config
from parlando.contracts import ConfigError
from parlando.curriculum.settings import (
    AlignerObjectiveConfig,
    CodecObjectiveConfig,
    FACodecStageConfig,
    FactorizedObjectiveConfig,
    LanguageObjectiveConfig,
    SystemObjectiveConfig,
)
from parlando.data.dataset import AudioCrops
from parlando.data.store import PreparedCorpus
from parlando.systems.naturalspeech2 import config as naturalspeech2_config
from parlando.systems.naturalspeech3 import config as naturalspeech3_config
from parlando.systems.valle2 import config as valle2_config
from parlando.training.checkpoint import STATE_NAME, load_state, load_weights

# Of the sample that tells the main directions of a codec's latents.
_START_FRAMES = 20_000


def build_aligner(
    config: aligner_config.AlignerConfig,
    objective: AlignerObjectiveConfig,
    data: Path,
    init: Path | None,
) -> nn.Module:
    """Build the objective of the aligner and phone recogniser.

    Raises:
        ParlandoError: the data, the codec or the checkpoint is missing, damaged or does not fit.
    """
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


def build_codec(
    config: rvq_config.RVQConfig, objective: CodecObjectiveConfig, data: Path, init: Path | None
) -> nn.Module:
    """Build one stage of a codec ``rvq``; fit its codebooks first where the stage asks for it.

    Raises:
        ParlandoError: the data, the codec or the checkpoint is missing, damaged or does not fit.
    """
    from parlando.codecs.rvq.model import build_rvq
    from parlando.codecs.rvq.objective import build_rvq_objective

    codec = build_rvq(config).to(_fitting_place())
    if init is not None:
        load_weights(init, codec)
        codec.quantizer.restart_statistics()
    if objective.fit_frames:
        codec.fit(_some_crops(data, objective.fit_frames))
    return build_rvq_objective(codec, objective.loss)


def build_facodec(
    config: facodec_config.FACodecConfig,
    objective: FACodecStageConfig,
    data: Path,
    init: Path | None,
) -> nn.Module:
    """Build one stage of a codec ``facodec``, on readers of an earlier one where there are any.

    Raises:
        ParlandoError: the data, the codec or the checkpoint is missing, damaged or does not fit.
    """
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


def build_naturalspeech2(
    config: naturalspeech2_config.NaturalSpeech2Config,
    objective: SystemObjectiveConfig,
    data: Path,
    init: Path | None,
) -> nn.Module:
    """Build the objective of NaturalSpeech 2 on a codec ``rvq``.

    Raises:
        ParlandoError: the data, the codec or the checkpoint is missing, damaged or does not fit.
    """
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


def build_valle2(
    config: valle2_config.VALLE2Config,
    objective: LanguageObjectiveConfig,
    data: Path,
    init: Path | None,
) -> nn.Module:
    """Build the objective of VALL-E 2 on the codes of any codec.

    Raises:
        ParlandoError: the data, the codec or the checkpoint is missing, damaged or does not fit.
    """
    from parlando.systems.valle2.model import VALLE2
    from parlando.systems.valle2.objective import VALLE2Objective
    from parlando.text.vocabulary import SYMBOLS

    codec = _codec_of_codes(objective.codec, config.levels, config.codebook_size, data)
    model = VALLE2(config, len(SYMBOLS))
    if init is not None:
        load_weights(init, model)
    elif objective.loss.codebook_start:
        model.start_from_codebooks(codebook_vectors(codec))
    return VALLE2Objective(model, objective.loss)


def build_naturalspeech3(
    config: naturalspeech3_config.NaturalSpeech3Config,
    objective: FactorizedObjectiveConfig,
    data: Path,
    init: Path | None,
) -> nn.Module:
    """Build the objective of NaturalSpeech 3 on the codes of any codec.

    Raises:
        ParlandoError: the data, the codec or the checkpoint is missing, damaged or does not fit.
    """
    from parlando.codecs.facodec.model import FACodec
    from parlando.nn.factorized import sphere
    from parlando.systems.naturalspeech3.model import NaturalSpeech3
    from parlando.systems.naturalspeech3.objective import NaturalSpeech3Objective
    from parlando.text.vocabulary import SYMBOLS

    codec = _codec_of_codes(objective.codec, config.levels, config.codebook_size, data)
    prosody_entries, names = None, []
    if isinstance(codec, FACodec):
        prosody_entries = sphere(codec.quantizer("prosody").codebooks[0])
        names = [
            f"{name}_{number + 1}" if at.stop - at.start > 1 else name
            for name, at in codec.levels_of.items()
            for number in range(at.stop - at.start)
        ]
    model = NaturalSpeech3(config, len(SYMBOLS))
    if init is not None:
        load_weights(init, model)
    elif objective.loss.codebook_start:
        model.frames.start_from_vectors(list(codebook_vectors(codec)))
    return NaturalSpeech3Objective(model, objective.loss, prosody_entries, names)


def _codec_of_codes(name: str, levels: int, size: int, data: Path) -> AnyCodec:
    """Load the codec whose codes a system shall speak, and see that they are those it reads."""
    from parlando.registry import load_any_codec

    codec = load_any_codec(name)
    if not fits(codec, levels, size):
        has, entries = code_shape(codec)
        raise ConfigError(
            f"the codec {name} has {has} levels of {entries} codes, the preset reads {levels} of "
            f"{size}; set levels and codebook_size in the recipe's [model]"
        )
    corpus = PreparedCorpus(data)
    corpus.require("codes")
    held = corpus.item(0, ("codes",))["codes"].shape[0]
    if held < levels or not fits(codec, held, size):
        raise ConfigError(
            f"the corpus {data} holds {held} codes a frame, the codec {name} makes "
            f"{code_shape(codec)[0]}; run 'parlando prepare --stages codes --codec {name}' on a "
            "copy"
        )
    return codec
