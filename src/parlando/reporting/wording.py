"""Texts beside what was heard: which words were lost, replaced or added."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from parlando.evaluation.intelligibility import scoring_words
from parlando.evaluation.pretrained import require

Kind = Literal["same", "lost", "added"]


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Neighbouring words with the same fate."""

    kind: Kind
    """Heard as written, written and not heard, or heard and not written."""
    text: str
    """The words."""


@dataclass(frozen=True, kw_only=True)
class Transcript:
    """What a judge heard, beside what was to be said."""

    judge: str
    """Name of the measure."""
    whose: str
    """``output`` or ``human``."""
    stretches: tuple[Stretch, ...]
    """In the order of the text."""

    @property
    def faultless(self) -> bool:
        """Whether everything was heard as written."""
        return all(stretch.kind == "same" for stretch in self.stretches)


def difference(reference: Sequence[str], heard: Sequence[str]) -> tuple[Stretch, ...]:
    """Mark what was lost and what was added, in the order of the text.

    The alignment is the shortest one, that of the error rates: every mark is a counted error.
    """
    if not reference or not heard:
        return _stretch("lost", reference) + _stretch("added", heard)
    jiwer = require("jiwer", "evaluate")
    keep = jiwer.Compose([jiwer.ReduceToListOfListOfWords()])
    aligned = jiwer.process_words(
        " ".join(reference),
        " ".join(heard),
        reference_transform=keep,
        hypothesis_transform=keep,
    )
    found: tuple[Stretch, ...] = ()
    for chunk in aligned.alignments[0]:
        written = reference[chunk.ref_start_idx : chunk.ref_end_idx]
        said = heard[chunk.hyp_start_idx : chunk.hyp_end_idx]
        if chunk.type == "equal":
            found += _stretch("same", written)
        else:
            found += _stretch("lost", written) + _stretch("added", said)
    return found


def transcripts(notes: Mapping[str, Mapping[str, Any]]) -> list[Transcript]:
    """Find the transcripts that measures noted: ``reference``, ``heard`` and ``heard_human``."""
    found = []
    for judge, noted in notes.items():
        for key, whose in (("heard", "output"), ("heard_human", "human")):
            if isinstance(noted.get("reference"), str) and isinstance(noted.get(key), str):
                # Phones are tokens as they stand; words are compared as they were scored.
                split = str.split if judge == "phones" else scoring_words
                stretches = difference(split(noted["reference"]), split(noted[key]))
                found.append(Transcript(judge=judge, whose=whose, stretches=stretches))
    return found


def other_notes(notes: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Write the notes that are no transcripts: a name and a text each."""
    return [
        (f"{judge}: {key.replace('_', ' ')}", _plain(value))
        for judge, noted in notes.items()
        for key, value in noted.items()
        if key not in ("reference", "heard", "heard_human")
    ]


def _stretch(kind: Kind, tokens: Sequence[str]) -> tuple[Stretch, ...]:
    return (Stretch(kind=kind, text=" ".join(tokens)),) if tokens else ()


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_plain(each)}" for key, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_plain(each) for each in value)
    return str(value)
