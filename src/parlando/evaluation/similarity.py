"""How alike two voices are: the cosine of speaker embeddings, who is nearest, and drift.

``SIM-O`` compares an output with the original prompt; ``SIM-R`` compares it with the prompt after
the codec, which forgives the system what its codec loses. Whoever reports the second in the column
of the first looks better than they are. Values depend on the encoder: its name goes beside each.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from parlando.audio.waveform import resample
from parlando.contracts import AudioError, Codec
from parlando.evaluation.measure import RATE_HZ, Figure, Gallery, Judgement, Quantity, Row, Sample
from parlando.evaluation.sounds import read_joined
from parlando.evaluation.speaker_encoders import SpeakerEncoder, load_encoder

WINDOW_SECONDS = 20.0
"""Length of the windows in which the voice of a long output is followed."""
LONG_SECONDS = 60.0
"""Shorter outputs say nothing about drift."""
_SHORTEST_HALF_SECONDS = 1.5


@dataclass(frozen=True, kw_only=True)
class RankOne:
    """How often the right speaker was the nearest of several."""

    accuracy: float
    """Share of outputs whose own speaker was the nearest."""
    chance: float
    """What guessing among the same candidates would give, on average."""
    hits: tuple[bool, ...]
    """One entry per output."""
    nearest: tuple[str, ...]
    """The nearest speaker of each output; empty where nobody is alike at all."""


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    """Compute the cosine of the angle between two vectors ``(D,)``; 0 if one of them is zero."""
    norms = np.linalg.norm(first) * np.linalg.norm(second)
    # Rounding takes that of like vectors a little beyond what an angle can have.
    return float(np.clip(np.dot(first, second) / norms, -1.0, 1.0)) if norms > 0 else 0.0


def rank_one(
    outputs: Sequence[np.ndarray],
    owners: Sequence[str],
    gallery: Mapping[str, np.ndarray],
    groups: Mapping[str, str],
) -> RankOne:
    """Identify the speaker of each output among the candidates of the owner's group.

    Args:
        outputs: embeddings ``(D,)``; zeros where no voice was found, which is a miss.
        owners: the speaker whose voice each output should have; each is in ``gallery``.
        gallery: one embedding per speaker, of speech that no output was prompted with.
        groups: group (such as the sex) of every speaker in the gallery.

    Raises:
        ValueError: if there are no outputs, or not as many owners.
    """
    if not outputs or len(outputs) != len(owners):
        raise ValueError(f"{len(outputs)} outputs and {len(owners)} owners")
    nearest, chances = [], []
    for output, owner in zip(outputs, owners, strict=True):
        candidates = [name for name in gallery if groups[name] == groups[owner]]
        alike = {name: cosine(output, gallery[name]) for name in candidates}
        best = max(alike, key=lambda name: alike[name])
        nearest.append(best if alike[best] > 0 else "")
        chances.append(1.0 / len(candidates))
    hits = tuple(found == owner for found, owner in zip(nearest, owners, strict=True))
    return RankOne(
        accuracy=float(np.mean(hits)),
        chance=float(np.mean(chances)),
        hits=hits,
        nearest=tuple(nearest),
    )


def halves_similarity(samples: np.ndarray, rate_hz: int, encoder: SpeakerEncoder) -> float:
    """Compute the similarity of the first and second half of one recording.

    It is the likeness that the same person reaches with themselves in the same room: the most
    that a synthesised voice can be asked for.
    """
    middle = len(samples) // 2
    return cosine(
        encoder.embed(samples[:middle], rate_hz), encoder.embed(samples[middle:], rate_hz)
    )


def resynthesize(samples: np.ndarray, codec: Codec) -> np.ndarray:
    """Send ``(S,)`` samples at 16 kHz through all levels of a codec; the result is as long.

    A factorized codec decodes with a timbre too: where a codec has ``reconstruct``, it does it all.
    """
    import torch

    sound = resample(samples, RATE_HZ, codec.rate_hz)
    padding = -len(sound) % codec.hop_samples
    with torch.inference_mode():
        wave = torch.from_numpy(np.pad(sound, (0, padding)))[None]
        whole = getattr(codec, "reconstruct", None)
        decoded = whole(wave) if whole else codec.decode(codec.embed(codec.encode(wave)))
    made = resample(decoded[0].cpu().numpy()[: len(sound)], codec.rate_hz, RATE_HZ)
    return made[: len(samples)]


def drift_of(similarities: Sequence[float], window_seconds: float = WINDOW_SECONDS) -> float:
    """Fit a line to the similarity of successive windows: its slope, per minute."""
    minutes = np.arange(len(similarities)) * window_seconds / 60.0
    return float(np.polyfit(minutes, np.asarray(similarities, dtype=np.float64), 1)[0])


class Voice:
    """Whose voice an output has: SIM-O, SIM-R, identification among speakers, and drift.

    An output is compared with the voice that was asked for: the prompt's recordings as they are,
    without the noise that a trial adds, or, where there is no prompt and the reference's speaker is
    the trial's (as with a codec), the reference. An output without a voice has similarity 0, and
    its speaker is missed.

    Beside it stand, for people, that voice against the same person's other recordings in the
    gallery (``sim_same``), and the halves of the longer one of prompt and reference with each other
    (``sim_halves``); for chance, the output against the gallery's other speakers of the same group
    (``sim_others``).

    Args:
        encoder: name of a speaker encoder, or what makes one; its weights are loaded once.
        gallery: speech of every speaker, none of it in a prompt; empty leaves out what needs it.
        codec: makes the system's codec, for SIM-R; None leaves SIM-R out.
    """

    name = "voice"

    def __init__(
        self,
        encoder: str | Callable[[], SpeakerEncoder] = "resemblyzer",
        gallery: Gallery | None = None,
        codec: Callable[[], Codec] | None = None,
    ) -> None:
        self.encoder = load_encoder(encoder) if isinstance(encoder, str) else encoder()
        self.gallery = gallery or Gallery()
        self.quantities = _voice_quantities(
            self.encoder.name, "sim_same" if self.gallery.speech else "sim_halves"
        )
        self._make_codec = codec
        self._codec: Codec | None = None
        self._known: dict[str, np.ndarray] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_codec": None, "_known": {}}

    def check(self) -> None:
        """Raise ``ConfigError`` if the encoder is not there, or the codec cannot be made."""
        check = getattr(self.encoder, "check", None)
        if check is not None:
            check()
        if self._make_codec is not None:
            self._make_codec()

    def judge(self, sample: Sample) -> Judgement:
        """Compare the output's voice with the one that was asked for, and with others.

        Raises:
            AudioError: the prompt or a recording of the gallery cannot be read or has no voice.
        """
        wanted = _wanted(sample)
        if wanted is None:
            return Judgement()
        target = self.encoder.embed(wanted, RATE_HZ)
        output = self._embed_output(sample.output, like=target)
        values: dict[str, tuple[float, float]] = {"sim_o": (cosine(output, target), 1)}
        notes: dict[str, Any] = {}
        if self._make_codec is not None and sample.trial.prompt:
            coded = resynthesize(wanted, self._loaded_codec())
            values["sim_r"] = (cosine(output, self._embed_output(coded, like=target)), 1)
        # Any person will do, and short halves are told apart more than people are: the longest.
        human = [wanted] if sample.reference is None else [wanted, sample.reference]
        halves = _halves_or_none(max(human, key=len), self.encoder)
        if halves is not None:
            values["sim_halves"] = (halves, 1)
        self._identify(sample, output, target, values, notes)
        self._follow(sample.output, target, values, notes)
        return Judgement(values=values, notes=notes)

    def conclude(self, rows: Sequence[Row]) -> list[Figure]:
        """Give nothing: every figure is a mean over samples."""
        return []

    def _identify(
        self,
        sample: Sample,
        output: np.ndarray,
        target: np.ndarray,
        values: dict[str, tuple[float, float]],
        notes: dict[str, Any],
    ) -> None:
        speaker, groups = sample.trial.speaker, self.gallery.groups
        if speaker not in self.gallery.speech:
            return
        group = groups.get(speaker, sample.trial.group)
        candidates = [s for s in self.gallery.speech if s == speaker or groups.get(s) == group]
        known = {name: self._embed_known(name) for name in candidates}
        values["sim_same"] = (cosine(target, known[speaker]), 1)
        others = [cosine(output, known[name]) for name in candidates if name != speaker]
        # Who is alone in a group is always identified.
        if not others:
            return
        values["sim_others"] = (float(np.mean(others)), 1)
        made, human = (
            rank_one([who], [speaker], known, dict.fromkeys(known, "")) for who in (output, target)
        )
        values["rank_one"] = (float(made.hits[0]), 1)
        values["rank_one_human"] = (float(human.hits[0]), 1)
        values["rank_one_control"] = (made.chance, 1)
        notes["nearest"] = made.nearest[0]

    def _follow(
        self,
        samples: np.ndarray,
        target: np.ndarray,
        values: dict[str, tuple[float, float]],
        notes: dict[str, Any],
    ) -> None:
        if len(samples) <= LONG_SECONDS * RATE_HZ:
            return
        length = round(WINDOW_SECONDS * RATE_HZ)
        windows = [samples[i : i + length] for i in range(0, len(samples) - length + 1, length)]
        alike = [cosine(self._embed_output(window, like=target), target) for window in windows]
        values["sim_slope"] = (drift_of(alike), 1)
        values["sim_drift"] = (alike[-1] - alike[0], 1)
        notes["similarity_by_window"] = [round(value, 4) for value in alike]

    def _embed_output(self, samples: np.ndarray, like: np.ndarray) -> np.ndarray:
        try:
            return self.encoder.embed(samples, RATE_HZ)
        except AudioError:
            # No voice: alike to nobody.
            return np.zeros_like(like)

    def _embed_known(self, speaker: str) -> np.ndarray:
        if speaker not in self._known:
            recordings = self.gallery.speech[speaker]
            self._known[speaker] = self.encoder.embed(read_joined(recordings), RATE_HZ)
        return self._known[speaker]

    def _loaded_codec(self) -> Codec:
        assert self._make_codec is not None
        if self._codec is None:
            self._codec = self._make_codec()
        return self._codec


def _wanted(sample: Sample) -> np.ndarray | None:
    trial = sample.trial
    if trial.prompt and (trial.noise_db is not None or sample.prompt is None):
        return read_joined(trial.prompt)
    if sample.prompt is not None:
        return sample.prompt
    return sample.reference if trial.reference_speaker == trial.speaker else None


def _halves_or_none(samples: np.ndarray, encoder: SpeakerEncoder) -> float | None:
    if len(samples) < 2 * _SHORTEST_HALF_SECONDS * RATE_HZ:
        return None
    try:
        return halves_similarity(samples, RATE_HZ, encoder)
    except AudioError:
        return None


def _voice_quantities(judge: str, human: str) -> tuple[Quantity, ...]:
    likeness = {
        "sim_o": ("Speaker similarity to the original voice (SIM-O)", human, "sim_others"),
        "sim_r": ("Speaker similarity to the coded voice (SIM-R)", human, "sim_others"),
        "sim_others": ("Similarity to others of the group", None, None),
        "sim_same": ("Similarity of a person's recordings", None, None),
        "sim_halves": ("Similarity of a recording's halves", None, None),
    }
    identified = {
        "rank_one": ("Speaker identified (rank one)", "rank_one_human", "rank_one_control"),
        "rank_one_human": ("Speaker of the prompt identified", None, None),
        "rank_one_control": ("Speaker guessed", None, None),
    }
    change = {
        "sim_slope": "Change of similarity per minute of a long output",
        "sim_drift": "Similarity of the last window less that of the first",
    }
    return (
        *(
            Quantity(
                key=key,
                title=title,
                unit="%" if key in identified else "",
                better="higher" if key in ("sim_o", "sim_r", "rank_one") else None,
                judge=judge,
                human=people,
                control=chance,
                compared=key != "sim_halves",
                source="VALL-E 2, 4.1; NaturalSpeech 3, 4.1" if key in ("sim_o", "sim_r") else "",
            )
            for key, (title, people, chance) in (likeness | identified).items()
        ),
        *(
            Quantity(key=key, title=title, better="higher", judge=judge)
            for key, title in change.items()
        ),
    )
