"""Measures by name, from what a person chose; the only file of the package that knows them all."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from parlando.contracts import ConfigError
from parlando.evaluation.measure import Gallery, Measure
from parlando.recipes import check_names

if TYPE_CHECKING:
    from parlando.aligner.model import Aligner
    from parlando.contracts import Codec
    from parlando.evaluation.conversion import Resynthesizer


@dataclass(frozen=True, kw_only=True)
class Judges:
    """What measures are built of; loaded models come as picklable functions that load them."""

    recogniser: str = "pocketsphinx"
    """Name of the recogniser of words."""
    recogniser_model: str | None = None
    """Folder of its weights, or a name on the hub; None takes what the papers took."""
    encoder: str = "resemblyzer"
    """Name of the speaker encoder."""
    encoder_model: str | None = None
    """Folder of its weights, or a name on the hub; None takes the usual ones."""
    aligner: "Callable[[], Aligner] | None" = None
    """Loads the aligner, which is the recogniser of phones too."""
    aligner_name: str = ""
    """Its name."""
    aligner_fingerprint: str = ""
    """Digest of its weights."""
    codec: "Callable[[], Codec] | None" = None
    """Loads the system's codec, for likeness to the coded prompt; None leaves that out."""
    codec_fingerprint: str = ""
    """Digest of its weights."""
    converter: "Callable[[], Resynthesizer] | None" = None
    """Loads what converts, for its resynthesis in the source's own voice; None leaves that out."""
    converter_fingerprint: str = ""
    """Digest of its weights and options."""
    gallery: Gallery = field(default_factory=Gallery)
    """Speakers among whom voices are identified."""
    gallery_fingerprint: str = ""
    """Digest of their recordings."""
    ravdess: Path | None = None
    """Folder of RAVDESS, which emotions are compared with."""
    utmos: Path | None = None
    """File of UTMOS; None leaves it out, unless the environment names one."""


def build_measures(names: Sequence[str], judges: Judges) -> tuple[list[Measure], Mapping[str, str]]:
    """Build measures, and say what the numbers of each depend on besides its judges' names.

    Args:
        names: see ``parlando.evaluation.protocol.MEASURES``.
        judges: what they are built of.

    Raises:
        ConfigError: a name is unknown, or a judge is.
    """
    check_names(names, _BUILDERS, "measures")
    measures = [_BUILDERS[name](judges) for name in dict.fromkeys(names)]
    fingerprints = dict.fromkeys(_WITH_ALIGNER, judges.aligner_fingerprint)
    fingerprints["emotion"] = str(judges.ravdess)
    fingerprints["conversion"] = (
        f"{judges.gallery_fingerprint} {judges.converter_fingerprint} {judges.aligner_fingerprint}"
    )
    fingerprints["voice"] = f"{judges.gallery_fingerprint} {judges.codec_fingerprint}"
    return measures, fingerprints


_WITH_ALIGNER = ("conversion", "phones", "prosody", "robustness", "singing")


def _aligner(judges: Judges) -> "Callable[[], Aligner]":
    if judges.aligner is None:
        raise ConfigError(f"{', '.join(_WITH_ALIGNER)} need an aligner; give one with --aligner")
    return judges.aligner


def _intelligibility(judges: Judges) -> Measure:
    from parlando.evaluation.intelligibility import Intelligibility
    from parlando.evaluation.recognizers import load_recognizer

    return Intelligibility(partial(load_recognizer, judges.recogniser, judges.recogniser_model))


def _phones(judges: Judges) -> Measure:
    from parlando.evaluation.intelligibility import Phones

    return Phones(_aligner(judges), judges.aligner_name)


def _robustness(judges: Judges) -> Measure:
    from parlando.evaluation.robustness import Robustness

    return Robustness(_aligner(judges), judges.aligner_name)


def _prosody(judges: Judges) -> Measure:
    from parlando.evaluation.prosody import Prosody

    # Folders of sounds tell no durations: what is set side by side is aligned alike.
    return Prosody(_aligner(judges), judges.aligner_name, trust_system=False)


def _voice(judges: Judges) -> Measure:
    from parlando.evaluation.similarity import Voice
    from parlando.evaluation.speaker_encoders import load_encoder

    encoder = partial(load_encoder, judges.encoder, judges.encoder_model)
    return Voice(encoder, judges.gallery, judges.codec)


def _conversion(judges: Judges) -> Measure:
    from parlando.evaluation.conversion import Conversion
    from parlando.evaluation.intelligibility import Phones
    from parlando.evaluation.speaker_encoders import load_encoder

    return Conversion(
        partial(load_encoder, judges.encoder, judges.encoder_model),
        Phones(_aligner(judges), judges.aligner_name),
        judges.gallery,
        judges.converter,
    )


def _singing(judges: Judges) -> Measure:
    from parlando.evaluation.singing import Singing

    return Singing(_aligner(judges), judges.aligner_name)


def _emotion(judges: Judges) -> Measure:
    from parlando.evaluation.emotion import Emotion

    if judges.ravdess is None:
        raise ConfigError(
            "emotions are compared with RAVDESS; use --protocol ravdess --data ravdess FOLDER"
        )
    return Emotion(judges.ravdess)


def _distance(judges: Judges) -> Measure:
    from parlando.evaluation.distance import Distance

    return Distance()


def _codec(judges: Judges) -> Measure:
    from parlando.evaluation.codec_use import CodecUse

    return CodecUse()


def _naturalness(judges: Judges) -> Measure:
    from parlando.evaluation.naturalness import Naturalness

    return Naturalness(judges.utmos)


def _generation(judges: Judges) -> Measure:
    from parlando.evaluation.generation import Generation

    return Generation()


_BUILDERS: Mapping[str, Callable[[Judges], Measure]] = {
    "intelligibility": _intelligibility,
    "phones": _phones,
    "robustness": _robustness,
    "prosody": _prosody,
    "voice": _voice,
    "singing": _singing,
    "distance": _distance,
    "emotion": _emotion,
    "codec": _codec,
    "conversion": _conversion,
    "naturalness": _naturalness,
    "generation": _generation,
}
