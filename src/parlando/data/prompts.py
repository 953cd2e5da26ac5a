"""Voice prompts for training: a piece cut out of the utterance, or other speech of its speaker."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from parlando.contracts import ConfigError
from parlando.data.store import PreparedCorpus
from parlando.text.vocabulary import BOUNDARY, SYMBOLS, base_phone, encode

Item = dict[str, Tensor]
DEFAULT_LOG_F0 = 5.0
"""Mean log-F0 of a prompt in which no frame is voiced (148 Hz)."""
_PLAIN_IDS = torch.tensor(encode(base_phone(symbol) for symbol in SYMBOLS))
_WORD_ID = encode([BOUNDARY])[0]


@dataclass(frozen=True, kw_only=True)
class PromptOptions:
    """Where prompts come from and how long they are."""

    segment_share: float = 0.25
    """Share that is cut out of the utterance itself (NaturalSpeech 2); the rest of it, joined, is
    then what is to be spoken. Such prompts are short where utterances are."""
    shortest_frames: int = 80
    """Least length of a piece that is cut out."""
    joined_frames: tuple[int, int] = (160, 480)
    """Range of the length of prompts that are joined of other utterances."""
    leading: bool = False
    """Cut the beginning of the utterance, as long as a joined prompt but half of it at the most
    (VALL-E 2), in place of a random piece."""
    symbols: bool = False
    """Give the symbols and durations of prompts as well (for systems that read transcripts)."""
    recognised_share: float = 0.0
    """Share of those that are given as a recogniser would name them, without stress and word
    boundaries, which is how prompts without a transcript are read."""

    def __post_init__(self) -> None:
        low, high = self.joined_frames
        if not (
            0.0 <= self.segment_share <= 1.0
            and 0.0 <= self.recognised_share <= 1.0
            and 1 <= low <= high
            and self.shortest_frames >= 1
        ):
            raise ConfigError(
                f"prompts of {self} are not possible; expected shares of 0 to 1 and lengths of at "
                "least one frame in ascending order"
            )


class Prompts:
    """Give each training utterance a prompt.

    Args:
        corpus: with codes; cutting needs the alignment as well.
        options: where prompts come from.
    """

    def __init__(self, corpus: PreparedCorpus, options: PromptOptions) -> None:
        corpus.require("audio", "codes")
        self._corpus, self._options = corpus, options
        self._members: dict[tuple[str, str], list[int]] = {}
        for index in corpus.select(aligned=options.symbols):
            row = corpus.rows[index]
            self._members.setdefault((row["speaker"], row["split"]), []).append(index)

    def take(self, index: int, item: Item, rng: np.random.Generator) -> tuple[Item, Item]:
        """Find a prompt for an utterance.

        Source: NaturalSpeech 2, section 3.3: the prompt is a random segment, and the two pieces
        beside it, concatenated, are the target. Deviation: prompts of other utterances of the
        speaker as well, since most utterances are too short to give 3 s away.

        Args:
            index: row of the utterance.
            item: its tensors, of which ``codes`` and ``f0`` are needed.
            rng: source of randomness.

        Returns:
            what remains of the item, and the prompt: ``codes`` (Q, P), P at least 1, ``log_f0``
            (), its mean over voiced frames, and if they are asked for ``symbols`` (M,) and
            ``durations`` (M,).
        """
        rest, prompt = self._taken(index, item, rng)
        share = self._options.recognised_share
        if self._options.symbols and share and rng.uniform() < share:
            prompt |= _as_recognised(prompt["symbols"], prompt["durations"])
        return rest, prompt

    def _taken(self, index: int, item: Item, rng: np.random.Generator) -> tuple[Item, Item]:
        part = self._led if self._options.leading else self._cut
        cut = part(item, rng) if rng.uniform() < self._options.segment_share else None
        if cut is not None:
            return cut
        prompt = self._joined(index, rng)
        if prompt is not None:
            return item, prompt
        # The speaker says nothing else: the utterance must give a part of itself.
        cut = part(item, rng) or self._halved(item)
        if cut is None:
            row = self._corpus.rows[index]
            raise ConfigError(f"{row['id']} can have no prompt; leave it out, see Prompts.possible")
        return cut

    def possible(self, index: int, with_durations: bool) -> bool:
        """Tell whether an utterance can have a prompt: none is its own, which would be copied.

        Args:
            index: row of the utterance.
            with_durations: whether items come with durations, so that they can be cut.
        """
        if any(self._differ(index, other) for other in self._speech_of(index)):
            return True
        return with_durations and self._middle(self._corpus.item(index, ("durations",))) > 0

    def _cut(self, item: Item, rng: np.random.Generator) -> tuple[Item, Item] | None:
        """Cut 10 to 50 % out, between symbols; None where too little would be left or taken."""
        least, frames = self._options.shortest_frames, item["codes"].shape[1]
        if "durations" not in item or frames < 2 * least:
            return None
        length = rng.uniform(max(0.1, least / frames), 0.5) * frames
        start = rng.uniform(0.0, frames - length)
        bounds = np.concatenate([[0], item["durations"].numpy().cumsum()])
        first = int(np.abs(bounds - start).argmin())
        last = int(np.abs(bounds - (start + length)).argmin())
        u, v = int(bounds[first]), int(bounds[last])
        if v - u < least // 2 or frames - (v - u) < least // 2:
            return None
        return self._parted(item, first, last)

    def _led(self, item: Item, rng: np.random.Generator) -> tuple[Item, Item] | None:
        """Cut the beginning off, between symbols; None where too little would be left or taken.

        Source: VALL-E 2, section 3: the condition is 3 to 30 s, or half of a shorter utterance.
        """
        least, frames = self._options.shortest_frames, item["codes"].shape[1]
        if "durations" not in item or frames < 2 * least:
            return None
        low, high = self._options.joined_frames
        length = min(frames / 2, rng.uniform(low, high))
        bounds = np.concatenate([[0], item["durations"].numpy().cumsum()])
        last = int(np.abs(bounds - length).argmin())
        if min(bounds[last], frames - bounds[last]) < least // 2:
            return None
        return self._parted(item, 0, last)

    def _halved(self, item: Item) -> tuple[Item, Item] | None:
        """Take the first half as the prompt; None where that cannot be."""
        middle = self._middle(item) if "durations" in item else 0
        return self._parted(item, 0, middle) if middle else None

    def _middle(self, item: Item) -> int:
        """Return the symbol that begins nearest to the middle; 0 if a part would be too short."""
        least, ends = self._options.shortest_frames, item["durations"].numpy().cumsum()
        if not len(ends) or ends[-1] < 2 * least:
            return 0
        last = int(np.abs(ends - ends[-1] / 2).argmin())
        shorter = min(int(ends[last]), int(ends[-1] - ends[last]))
        return last + 1 if shorter >= max(1, least // 2) else 0

    def _parted(self, item: Item, first: int, last: int) -> tuple[Item, Item]:
        """Take the symbols ``first`` to ``last`` out: what is left, and the prompt."""
        bounds = np.concatenate([[0], item["durations"].numpy().cumsum()])
        u, v = int(bounds[first]), int(bounds[last])
        hop = self._corpus.hop_samples
        spans = {"waveform": (u * hop, v * hop)} | dict.fromkeys(
            ("symbols", "durations"), (first, last)
        )
        rest = {}
        for name, tensor in item.items():
            begin, end = spans.get(name, (u, v))
            rest[name] = torch.cat([tensor[..., :begin], tensor[..., end:]], dim=-1)
        prompt = _prompt([item["codes"][:, u:v]], [item["f0"][u:v]])
        if self._options.symbols:
            prompt |= {name: item[name][first:last] for name in ("symbols", "durations")}
        return rest, prompt

    def _joined(self, index: int, rng: np.random.Generator) -> Item | None:
        """Join other utterances of the speaker, with other texts; None where there are none."""
        low, high = self._options.joined_frames
        if self._options.symbols:
            return self._joined_with_symbols(index, int(rng.integers(low, high + 1)), rng)
        others = [other for other in self._speech_of(index) if self._differ(index, other)]
        missing = int(rng.integers(low, high + 1))
        codes: list[Tensor] = []
        hertz: list[Tensor] = []
        while others and missing:
            other = others.pop(int(rng.integers(len(others))))
            frames = self._corpus.rows[other]["n_frames"]
            start = int(rng.integers(max(0, frames - missing) + 1))
            item = self._corpus.item(other, ("codes", "f0"))
            codes.append(item["codes"][:, start : start + missing])
            hertz.append(item["f0"][start : start + missing])
            missing -= codes[-1].shape[1]
        return _prompt(codes, hertz) if codes else None

    def _joined_with_symbols(
        self, index: int, missing: int, rng: np.random.Generator
    ) -> Item | None:
        """Join whole utterances, and of the one that is too long a piece between symbols."""
        others = list(self._speech_of(index))
        pieces: list[Item] = []
        while others and missing:
            other = others.pop(int(rng.integers(len(others))))
            if not self._differ(index, other):
                continue
            item = self._corpus.item(other, ("codes", "f0", "symbols", "durations"))
            bounds = np.concatenate([[0], item["durations"].numpy().cumsum()])
            frames = int(bounds[-1])
            start = int(rng.integers(max(0, frames - missing) + 1))
            first = int(np.abs(bounds - start).argmin())
            last = int(np.searchsorted(bounds, bounds[first] + missing, side="right")) - 1
            u, v = int(bounds[first]), int(bounds[last])
            if u < v:
                part = {"codes": item["codes"][:, u:v], "f0": item["f0"][u:v]}
                part |= {name: item[name][first:last] for name in ("symbols", "durations")}
                pieces.append(part)
            # What a phone is too long for stays empty: scraps help nobody.
            missing = missing - (v - u) if frames <= missing else 0
        if not pieces:
            return None
        prompt = _prompt([piece["codes"] for piece in pieces], [piece["f0"] for piece in pieces])
        for name in ("symbols", "durations"):
            prompt[name] = torch.cat([piece[name] for piece in pieces])
        return prompt

    def _speech_of(self, index: int) -> list[int]:
        row = self._corpus.rows[index]
        return self._members.get((row["speaker"], row["split"]), [])

    def _differ(self, index: int, other: int) -> bool:
        text = self._corpus.rows[index]["text"]
        return other != index and (text is None or self._corpus.rows[other]["text"] != text)


def _as_recognised(symbols: Tensor, durations: Tensor) -> Item:
    """Drop the stress of phones, and inner word boundaries: their frames go to the symbol before.

    Boundaries at the ends stay: a recognised prompt has them too.
    """
    kept = symbols != _WORD_ID
    kept[[0, -1]] = True
    frames = durations.new_zeros(int(kept.sum()))
    frames.index_add_(0, kept.long().cumsum(0) - 1, durations)
    return {"symbols": _PLAIN_IDS[symbols][kept], "durations": frames}


def _prompt(codes: Sequence[Tensor], hertz: Sequence[Tensor]) -> Item:
    f0 = torch.cat(list(hertz))
    voiced = f0[f0 > 0.0]
    log_f0 = voiced.log().mean() if len(voiced) else torch.tensor(DEFAULT_LOG_F0)
    return {"codes": torch.cat(list(codes), dim=1), "log_f0": log_f0}
