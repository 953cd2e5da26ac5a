"""Measures by name, from what a person chose; the only file of the package that knows them all."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from parlando.contracts import ConfigError
from parlando.evaluation.measure import Gallery, Measure
from parlando.recipes import check_names

if TYPE_CHECKING:
    from parlando.aligner.model import Aligner


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
    gallery: Gallery = field(default_factory=Gallery)
    """Speakers among whom voices are identified."""
    gallery_fingerprint: str = ""
    """Digest of their recordings."""


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
    fingerprints = dict.fromkeys(("phones", "prosody"), judges.aligner_fingerprint)
    return measures, fingerprints | {"voice": judges.gallery_fingerprint}


def _aligner(judges: Judges) -> "Callable[[], Aligner]":
    if judges.aligner is None:
        raise ConfigError("phones and prosody need an aligner; give one with --aligner")
    return judges.aligner


def _intelligibility(judges: Judges) -> Measure:
    from parlando.evaluation.intelligibility import Intelligibility
    from parlando.evaluation.recognizers import load_recognizer

    return Intelligibility(partial(load_recognizer, judges.recogniser, judges.recogniser_model))


def _phones(judges: Judges) -> Measure:
    from parlando.evaluation.intelligibility import Phones

    return Phones(_aligner(judges), judges.aligner_name)


def _prosody(judges: Judges) -> Measure:
    from parlando.evaluation.prosody import Prosody

    return Prosody(_aligner(judges))


def _distance(judges: Judges) -> Measure:
    from parlando.evaluation.distance import Distance

    return Distance()


def _codec(judges: Judges) -> Measure:
    from parlando.evaluation.codec_use import CodecUse

    return CodecUse()


def _naturalness(judges: Judges) -> Measure:
    from parlando.evaluation.naturalness import Naturalness

    return Naturalness()


_BUILDERS: Mapping[str, Callable[[Judges], Measure]] = {
    "intelligibility": _intelligibility,
    "phones": _phones,
    "prosody": _prosody,
    "distance": _distance,
    "codec": _codec,
    "naturalness": _naturalness,
}
