"""RAVDESS: acted emotions, read from a folder as it is distributed, and the trials made of it.

24 actors say two statements in eight emotions, twice each, in two intensities (Livingstone and
Russo, 2018). It is not part of Parlando.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from parlando.contracts import ConfigError
from parlando.evaluation.measure import Recording, Trial

EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
"""In the order of the corpus, whose codes are 01 to 08."""
STATEMENTS = ("Kids are talking by the door.", "Dogs are sitting by the door.")
"""In the order of the corpus, whose codes are 01 and 02."""

_NAME = re.compile(r"(\d\d)-(\d\d)-(0[1-8])-(0[12])-(0[12])-(\d\d)-(\d\d)\.wav", re.IGNORECASE)
_SPEECH = "01"
_STRONG = 2


@dataclass(frozen=True, kw_only=True)
class Take:
    """One recording of RAVDESS."""

    path: Path
    """Sound file."""
    emotion: str
    """One of ``EMOTIONS``."""
    intensity: int
    """1 normal, 2 strong; neutral has no strong one."""
    statement: int
    """1 or 2, see ``STATEMENTS``."""
    repetition: int
    """1 or 2."""
    actor: str
    """``Actor_01`` to ``Actor_24``; men have odd numbers."""

    @property
    def text(self) -> str:
        """What is said."""
        return STATEMENTS[self.statement - 1]

    @property
    def group(self) -> str:
        """Sex of the actor."""
        return "male" if int(self.actor[-2:]) % 2 else "female"


def read_ravdess(folder: str | Path) -> list[Take]:
    """Read the names of all spoken takes: ``Actor_NN/03-01-05-02-01-01-NN.wav``.

    The parts are modality, channel (01 speech, 02 song), emotion, intensity, statement, repetition
    and actor. Songs are passed over.

    Args:
        folder: the one that holds ``Actor_01`` and its siblings.

    Returns:
        the takes, ordered by path.

    Raises:
        ConfigError: the folder is not there or no RAVDESS, or a file in it has another name.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ConfigError(f"{folder}: there is no such folder; give that of RAVDESS")
    takes = []
    for path in sorted(folder.glob("Actor_[0-9][0-9]/*.wav")):
        if path.name.startswith("."):  # what other systems leave beside each file
            continue
        found = _NAME.fullmatch(path.name)
        if found is None:
            raise ConfigError(
                f"{path}: is no name of RAVDESS, such as 03-01-05-02-01-01-12.wav; move the file "
                "elsewhere"
            )
        _, channel, emotion, intensity, statement, repetition, actor = found.groups()
        if channel == _SPEECH:
            takes.append(
                Take(
                    path=path,
                    emotion=EMOTIONS[int(emotion) - 1],
                    intensity=int(intensity),
                    statement=int(statement),
                    repetition=int(repetition),
                    actor=f"Actor_{actor}",
                )
            )
    if not takes:
        raise ConfigError(
            f"{folder}: is no RAVDESS: it holds no Actor_01/03-01-05-02-01-01-01.wav or the like; "
            "unpack the speech archive there, and give the folder in which Actor_01 lies"
        )
    return takes


def strongest(takes: Sequence[Take]) -> list[Take]:
    """Keep the takes of the protocol: strong ones, and for neutral the only ones there are."""
    return [take for take in takes if take.intensity == _STRONG or take.emotion == "neutral"]


def ravdess_trials(folder: str | Path, seed: int = 0) -> list[Trial]:
    """Make one trial for each actor and emotion.

    Which of the two statements the prompt says, and which repetitions prompt and reference are, is
    drawn by the seed. NaturalSpeech 3 does not publish its list.

    Args:
        folder: of RAVDESS, see :func:`read_ravdess`.
        seed: of the draw; a trial's own seed follows from it.

    Returns:
        192 trials for the whole corpus, labelled by ``emotion``.

    Raises:
        ConfigError: the folder is no RAVDESS, or no actor says both statements in one emotion.
    """
    generator = np.random.default_rng(seed)
    takes = strongest(read_ravdess(folder))
    trials: list[Trial] = []
    for actor in sorted({take.actor for take in takes}):
        for emotion in EMOTIONS:
            mine = [take for take in takes if (take.actor, take.emotion) == (actor, emotion)]
            said = [[take for take in mine if take.statement == number] for number in (1, 2)]
            if not all(said):
                continue
            first = int(generator.integers(2))
            prompt, reference = (
                choices[int(generator.integers(len(choices)))]
                for choices in (said[first], said[1 - first])
            )
            trials.append(_trial(prompt, reference, seed + len(trials)))
    if not trials:
        raise ConfigError(
            f"{folder}: no actor says both statements in one emotion; give the whole RAVDESS"
        )
    return trials


def _trial(prompt: Take, reference: Take, seed: int) -> Trial:
    return Trial(
        id=f"{reference.actor}-{reference.emotion}",
        speaker=reference.actor,
        group=reference.group,
        text=reference.text,
        control_text=prompt.text,
        prompt=(Recording(path=prompt.path),),
        prompt_text=prompt.text,
        reference=Recording(path=reference.path),
        reference_speaker=reference.actor,
        labels={"emotion": reference.emotion},
        seed=seed,
    )
