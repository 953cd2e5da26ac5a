"""What a codec spends: its bit rate, and how much of each codebook it uses."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from parlando.contracts import AudioError
from parlando.evaluation.measure import RATE_HZ, Figure, Judgement, Quantity, Row, Sample
from parlando.evaluation.reconstruction import bits_per_second, perplexity

_BIT_RATE = Quantity(
    key="bit_rate",
    title="Bit rate",
    unit="kbit/s",
    better="lower",
    judge="codes without entropy coding",
    source="NaturalSpeech 3, table 13",
)
_PERPLEXITY = Quantity(
    key="codebook_perplexity",
    title="Codebook perplexity",
    better="higher",
    judge="exp of the entropy of the pooled codes, in entries",
)
_USED = Quantity(
    key="codebook_used",
    title="Codebook entries used",
    unit="%",
    better="higher",
    judge="entries that occur at all in the pooled codes",
)


class CodecUse:
    """Bit rate by sample; perplexity and share of used entries by codebook, over all samples.

    A codebook is used by a corpus, not by an utterance: the latter has fewer frames than entries.
    So each row keeps the histograms of its codes, and the figures come from their sum. They have no
    interval: drawing utterances again can only lose entries, which biases a bootstrap downwards.
    """

    name = "codec"
    quantities = (_BIT_RATE, _PERPLEXITY, _USED)

    def judge(self, sample: Sample) -> Judgement:
        """Count bits and codes; nothing where the details hold no ``codes``.

        Raises:
            AudioError: the codes are no stack of equally long levels, or lie outside the codebook.
        """
        if "codes" not in sample.details:
            return Judgement()
        codes, size = _stack(sample.details)
        levels, length_frames = codes.shape
        rate_hz = sample.details.get("rate_hz", RATE_HZ)
        hop_samples = sample.details["hop_samples"]
        seconds = length_frames * hop_samples / rate_hz
        kilobits = bits_per_second(levels, size, rate_hz, hop_samples) * seconds / 1000.0
        notes = {
            "codebook_size": size,
            # JSON has no integer keys: entries and counts are two lists.
            "levels": [_histogram(level) for level in codes],
            "names": list(sample.details.get("level_names", _numbers(levels))),
        }
        return Judgement(values={_BIT_RATE.key: (kilobits, seconds)}, notes=notes)

    def conclude(self, rows: Sequence[Row]) -> list[Figure]:
        """Give perplexity and share of used entries: of each level, and their mean over levels.

        Rows of different conditions are pooled; those with fewer levels count where they have one.
        """
        notes = [row.notes[self.name] for row in rows if "levels" in row.notes.get(self.name, {})]
        if not notes:
            return []
        sizes = {note["codebook_size"] for note in notes}
        if len(sizes) > 1:
            raise AudioError(
                f"codes of codebooks of {sorted(sizes)} entries cannot be pooled; "
                "report each codec by itself"
            )
        size = sizes.pop()
        figures = []
        found: list[tuple[float, float]] = []
        named = [_by_name(note) for note in notes]
        for name in dict.fromkeys(name for levels in named for name in levels):
            having = [levels[name] for levels in named if name in levels]
            pooled: Counter[int] = Counter()
            for entries, counts in having:
                pooled.update(dict(zip(entries, counts, strict=True)))
            found.append((perplexity(np.array(list(pooled.values()))), len(pooled) / size))
            figures += _figures(found[-1], len(having), {"level": name})
        means = tuple(float(np.mean(values)) for values in zip(*found, strict=True))
        return _figures((means[0], means[1]), len(notes), {}) + figures


def _figures(values: tuple[float, float], count: int, condition: Mapping[str, str]) -> list[Figure]:
    return [
        Figure(quantity=quantity, value=value, count=count, condition=condition)
        for quantity, value in zip((_PERPLEXITY, _USED), values, strict=True)
    ]


def _stack(details: Mapping[str, Any]) -> tuple[np.ndarray, int]:
    if missing := {"codebook_size", "hop_samples"} - set(details):
        raise AudioError(f"codes without {' and '.join(sorted(missing))}; add them to the details")
    size = int(details["codebook_size"])
    lengths = {len(level) for level in details["codes"]}
    if len(lengths) != 1 or lengths == {0}:
        raise AudioError(f"codes of lengths {sorted(lengths)}; need Q levels of T frames, T > 0")
    codes = np.asarray(details["codes"], dtype=np.int64)
    if codes.min() < 0 or codes.max() >= size:
        raise AudioError(
            f"codes from {codes.min()} to {codes.max()}; a codebook of {size} entries has "
            f"0 to {size - 1}"
        )
    return codes, size


def _numbers(levels: int) -> list[str]:
    return [str(number) for number in range(1, levels + 1)]


def _by_name(note: Mapping[str, Any]) -> dict[str, Any]:
    # Rows that an earlier version kept have no names.
    names = note.get("names", _numbers(len(note["levels"])))
    return dict(zip(names, note["levels"], strict=True))


def _histogram(level: np.ndarray) -> list[list[int]]:
    entries, counts = np.unique(level, return_counts=True)
    return [entries.tolist(), counts.tolist()]
