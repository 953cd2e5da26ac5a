"""Which sounds a listening test plays, on which screens, and under which blind names.

Nothing here or on the page tells which system made a sound: files, screens and their order come
from a seeded generator, and only the key, which raters never see, joins blind names and systems.
Attention checks look like any other screen; the page itself does not know them.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from parlando.audio import waveform
from parlando.contracts import ConfigError
from parlando.evaluation.sounds import add_noise

Kind = Literal["cmos", "smos", "mushra"]
Rule = Literal["same", "worse", "count"]

RATE_HZ = 16_000
"""Rate of every sound of a test: none may stand out by its bandwidth alone."""
DEFAULT_TRIALS = 12
"""Utterances of a test where nothing else is asked for: about ten minutes of a rater's time."""
HUMAN, REFERENCE, ANCHOR, PROMPT = "human", "reference", "anchor", "prompt"
CLEAN, DEGRADED = "clean", "degraded"
ANCHOR_HZ = 3_500.0
"""Low anchor of ITU-R BS.1534-3, section 5.1: pass band to here, 500 Hz of slope."""
_SCREENS_PER_CHECK = 8
_DEGRADED_DB = 0.0
_MOST_CONTESTANTS = {"cmos": 12, "smos": 12, "mushra": 10}
_REPORTS = {"cmos": 2, "smos": 1, "mushra": 1}


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A system, or the human speakers, with the sounds of each utterance by its name."""

    name: str
    """Name in the key and in the scores."""
    outputs: Mapping[str, Path]
    """What is judged."""
    prompts: Mapping[str, Path] = field(default_factory=dict)
    """The voice that was asked for; needed for SMOS."""
    references: Mapping[str, Path] = field(default_factory=dict)
    """Human recordings of the same texts; needed for MUSHRA."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Stimulus:
    """A sound of the test."""

    file: str
    """Blind name of the file, without its suffix."""
    label: str
    """Whose sound it is: for the key alone."""
    samples: np.ndarray
    """``(S,)`` at :data:`RATE_HZ`."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """What an attentive rater answers."""

    rule: Rule
    """``same``: 0 for two equal sounds; ``worse``: the noisy one of two is not preferred;
    ``count``: the number of beeps."""
    count: int = 0
    """Number of beeps."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Screen:
    """What is rated at once."""

    id: str
    """Blind name."""
    item: str
    """Utterance."""
    stimuli: tuple[Stimulus, ...]
    """What is rated."""
    shown: Stimulus | None = None
    """Sound of known origin beside them: the prompt, or the open reference."""
    check: Check | None = None
    """For a screen that tests the rater."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ListeningTest:
    """Everything that a page and its key are written from."""

    id: str
    """Name of the test: twelve hexadecimal digits of all that is in it."""
    kind: Kind
    """Way of rating."""
    systems: tuple[str, ...]
    """Names of the contestants; the first is what others are compared with."""
    seed: int
    """Of every choice."""
    practice: Screen
    """Not counted."""
    screens: tuple[Screen, ...]
    """In an order that each rater's page shuffles again."""


def design_test(
    contestants: Sequence[Contestant], *, kind: Kind, trials: int | None = None, seed: int = 0
) -> ListeningTest:
    """Choose utterances, set up screens and checks, match levels and give blind names.

    CMOS: every contestant against the first. SMOS: every contestant against its prompt. MUSHRA:
    all contestants, the hidden reference and the low anchor at once. All contestants are heard
    with the same utterances, so that raters, utterances and systems are crossed.

    Source: ITU-T P.800, annex E (comparison ratings from -3 to +3); VALL-E, section 5.1 (SMOS in
    half points); ITU-R BS.1534-3 (MUSHRA). The attention checks are ours.

    Args:
        contestants: one or more; CMOS needs two.
        kind: way of rating.
        trials: number of utterances; None takes up to :data:`DEFAULT_TRIALS` of those there are.
        seed: of every choice: the same reports and seed give the same test.

    Raises:
        ConfigError: too few or too many contestants, names that are taken, or too few utterances.
        AudioError: a sound cannot be read.
    """
    names = tuple(one.name for one in contestants)
    _check_contestants(names, kind)
    items = shared_items(contestants, kind)
    wanted = min(DEFAULT_TRIALS, len(items)) if trials is None else trials
    if not 1 <= wanted <= len(items):
        raise ConfigError(
            f"--trials {wanted}: the reports share {len(items)} utterances that a {kind} test can "
            f"use; give 1 to {len(items)}"
            if items
            else f"the reports share no utterance that a {kind} test can use; it needs "
            f"{_NEEDS[kind]} of the same trial in every report"
        )
    stage = _Stage(kind, contestants, _generator(names, items, kind, seed))
    order = [items[place] for place in stage.generator.permutation(len(items))]
    screens = [screen for item in order[:wanted] for screen in stage.screens(item)]
    screens += stage.checks(order[:wanted], len(screens))
    screens = [screens[place] for place in stage.generator.permutation(len(screens))]
    # An utterance that is not rated later is the better one to practise on.
    practice = stage.screens(order[min(wanted, len(order) - 1)])[0]
    return ListeningTest(
        id=_digest(kind, names, seed, [practice, *screens]),
        kind=kind,
        systems=names,
        seed=seed,
        practice=practice,
        screens=tuple(screens),
    )


_NEEDS = {
    "cmos": "the output",
    "smos": "the output and the prompt",
    "mushra": "the output and the human recording",
}


def shared_items(contestants: Sequence[Contestant], kind: Kind) -> list[str]:
    """List the utterances that a test of this kind can use, sorted."""
    usable = [set(one.outputs) for one in contestants]
    usable += [set(one.prompts) for one in contestants if kind == "smos"]
    usable += [set(one.references) for one in contestants[:1] if kind == "mushra"]
    return sorted(set.intersection(*usable)) if usable else []


def matched(sounds: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Scale sounds to one level of active speech, as near to -23 dB as the peaks of all allow."""
    levelled = [waveform.normalize_loudness(one, RATE_HZ) for one in sounds]
    levels = [waveform.active_level_db(one, RATE_HZ) for one in levelled]
    lowest = min((level for level in levels if np.isfinite(level)), default=waveform.LOUDNESS_DB)
    return [waveform.normalize_loudness(one, RATE_HZ, lowest) for one in levelled]


def low_anchor(samples: np.ndarray) -> np.ndarray:
    """Low-pass a reference at 3.5 kHz: ``(S,)`` to ``(S,)``.

    Source: ITU-R BS.1534-3, section 5.1: at least 25 dB down at 4 kHz and 50 dB at 4.5 kHz.
    """
    frequencies = np.fft.rfftfreq(len(samples), 1.0 / RATE_HZ)
    slope = np.clip((frequencies - ANCHOR_HZ) / 500.0, 0.0, 1.0)
    gains = np.square(np.cos(0.5 * np.pi * slope))
    return np.fft.irfft(np.fft.rfft(samples) * gains, len(samples)).astype(np.float32)


def with_beeps(samples: np.ndarray, count: int) -> np.ndarray:
    """Add beeps of 1 kHz, 0.15 s long and 0.25 s apart, after a sound."""
    time = np.arange(round(0.15 * RATE_HZ)) / RATE_HZ
    ramp = np.minimum(1.0, np.minimum(time, time[::-1]) / 0.01)
    beep = 10.0 ** (waveform.LOUDNESS_DB / 20.0) * np.sqrt(2.0) * np.sin(2e3 * np.pi * time) * ramp
    gap = np.zeros(round(0.25 * RATE_HZ))
    return np.concatenate([samples, *[gap, beep] * count]).astype(np.float32)


class _Stage:
    """Sets up screens; every choice comes from one generator."""

    def __init__(
        self, kind: Kind, contestants: Sequence[Contestant], generator: np.random.Generator
    ) -> None:
        self.kind = kind
        self.contestants = contestants
        self.generator = generator

    def screens(self, item: str) -> list[Screen]:
        """Set up all screens of an utterance."""
        sounds = {one.name: _read(one.outputs[item]) for one in self.contestants}
        first = self.contestants[0]
        if self.kind == "cmos":
            pairs = [{name: sounds[name] for name in (first.name, other)} for other in sounds]
            return [self._screen(item, pair) for pair in pairs[1:]]
        if self.kind == "smos":
            return [
                self._screen(item, {one.name: sounds[one.name]}, {PROMPT: _read(one.prompts[item])})
                for one in self.contestants
            ]
        reference = _read(first.references[item])
        rated = {**sounds, REFERENCE: reference, ANCHOR: low_anchor(reference)}
        return [self._screen(item, rated, {REFERENCE: reference})]

    def checks(self, items: Sequence[str], screens: int) -> list[Screen]:
        """Set up the attention checks; MUSHRA has one in every screen, its hidden reference."""
        if self.kind == "mushra":
            return []
        count = max(2, round(screens / _SCREENS_PER_CHECK))
        return [self._check(str(self.generator.choice(items)), place) for place in range(count)]

    def _check(self, item: str, place: int) -> Screen:
        contestant = self.contestants[int(self.generator.integers(len(self.contestants)))]
        sound = _read(contestant.outputs[item])
        if self.kind == "smos":
            count = int(self.generator.integers(2, 5))
            prompt = {PROMPT: _read(contestant.prompts[item])}
            return self._screen(item, {CLEAN: sound}, prompt, Check(rule="count", count=count))
        if place % 2:
            noisy = add_noise(sound, _DEGRADED_DB, int(self.generator.integers(2**31)))
            return self._screen(item, {CLEAN: sound, DEGRADED: noisy}, check=Check(rule="worse"))
        return self._screen(item, {CLEAN: sound, DEGRADED: sound}, check=Check(rule="same"))

    def _screen(
        self,
        item: str,
        rated: Mapping[str, np.ndarray],
        shown: Mapping[str, np.ndarray] | None = None,
        check: Check | None = None,
    ) -> Screen:
        shown = shown or {}
        sounds = matched([*shown.values(), *rated.values()])
        if check is not None and check.rule == "count":
            sounds[-1] = with_beeps(sounds[-1], check.count)
        stimuli = [
            Stimulus(file=self._name(), label=label, samples=samples)
            for label, samples in zip([*shown, *rated], sounds, strict=True)
        ]
        judged = stimuli[len(shown) :]
        return Screen(
            id=self._name(),
            item=item,
            stimuli=tuple(judged[place] for place in self.generator.permutation(len(judged))),
            shown=stimuli[0] if shown else None,
            check=check,
        )

    def _name(self) -> str:
        return self.generator.bytes(8).hex()


def _check_contestants(names: Sequence[str], kind: Kind) -> None:
    least, most = _REPORTS[kind], _MOST_CONTESTANTS[kind]
    if not least <= len(names) <= most:
        raise ConfigError(
            f"a {kind} test of {len(names)} systems; give {least} to {most} reports"
            + (", or --human to compare with the human recordings" if len(names) < least else "")
        )
    if len(set(names)) < len(names):
        raise ConfigError(f"two systems are named {_twice(names)!r}; name the folders apart")
    if taken := set(names) & {REFERENCE, ANCHOR}:
        raise ConfigError(f"a system cannot be named {min(taken)!r}; name its folder otherwise")


def _twice(names: Sequence[str]) -> str:
    return next(name for name in names if names.count(name) > 1)


def _read(path: Path) -> np.ndarray:
    return waveform.load(path, RATE_HZ).samples


def _generator(
    names: Sequence[str], items: Sequence[str], kind: Kind, seed: int
) -> np.random.Generator:
    # The names are mixed in: who only knows the usual seed cannot work out the key.
    text = "\n".join([kind, str(seed), *names, *items])
    return np.random.default_rng(list(hashlib.sha256(text.encode()).digest()))


def _digest(kind: Kind, names: Sequence[str], seed: int, screens: Sequence[Screen]) -> str:
    whole = hashlib.sha256("\n".join([kind, str(seed), *names]).encode())
    for screen in screens:
        for stimulus in (screen.shown, *screen.stimuli):
            if stimulus is not None:
                whole.update(stimulus.file.encode() + stimulus.samples.tobytes())
    return whole.hexdigest()[:12]
