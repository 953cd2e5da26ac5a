"""Whether speech takes over the emotion of its prompt: the measures of NaturalSpeech 3's table 2.

A prompt says one statement of RAVDESS in an emotion, the system says the other, and the same
actor's take of it in that emotion is the reference: see :mod:`parlando.evaluation.ravdess`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from parlando.contracts import ConfigError
from parlando.evaluation.distance import spoken_cepstra, warped_cepstral_distortion
from parlando.evaluation.emotion_classifier import EmotionClassifier
from parlando.evaluation.intervals import ratio_interval
from parlando.evaluation.measure import Figure, Judgement, Quantity, Recording, Row, Sample
from parlando.evaluation.pretrained import require
from parlando.evaluation.ravdess import EMOTIONS, Take, read_ravdess, strongest
from parlando.evaluation.sounds import check_audible, read_recording

_MCD_JUDGE = "MCD as in 'distance', time-warped, ends trimmed"
_CLASSIFIER_JUDGE = (
    "linear discriminant on mel-cepstra, pitch and energy moments, trained on the other actors"
)
_SOURCE = "NaturalSpeech 3, table 2"


def _quantity(key: str, title: str, **more: Any) -> Quantity:
    unit = "dB" if key.startswith("emotion_mcd") else "%"
    judge = _CLASSIFIER_JUDGE if "classified" in key else _MCD_JUDGE
    return Quantity(key=key, title=title, unit=unit, judge=judge, source=_SOURCE, **more)


_OWN = Quantity(
    key="emotion_classifier",
    title="The emotion classifier's own accuracy on actors it has not heard",
    unit="%",
    better="higher",
    judge=_CLASSIFIER_JUDGE,
)


class Emotion:
    """Emotion of an output, by its distance to human takes and by a classifier trained on them.

    - MCD to the reference; between what a second take of the same actor reaches (human) and takes
      in the other emotions (chance).
    - MCD-Acc by nearest reference: of the same actor's takes of the same statement, the one that is
      nearest by MCD is in the emotion of the prompt. The second human take is asked the same.
    - MCD-Acc by classifier, which leaves out the actor it judges; its own accuracy is a figure.

    Only trials of :func:`parlando.evaluation.ravdess.ravdess_trials` are judged; other samples
    are passed over.

    Args:
        folder: of RAVDESS. Nothing is read before the first sample; then every strong take, once.
    """

    name = "emotion"
    quantities = (
        _quantity(
            "emotion_mcd",
            "MCD to the take in the prompt's emotion",
            better="lower",
            human="emotion_mcd_human",
            control="emotion_mcd_other",
        ),
        _quantity("emotion_mcd_human", "MCD between two human takes in one emotion"),
        _quantity("emotion_mcd_other", "MCD to the takes in other emotions"),
        _quantity(
            "emotion_nearest",
            "MCD-Acc, by nearest reference",
            better="higher",
            human="emotion_nearest_human",
            control="emotion_chance",
        ),
        _quantity("emotion_nearest_human", "MCD-Acc, by nearest reference: second human take"),
        _quantity(
            "emotion_classified",
            "MCD-Acc, by classifier",
            better="higher",
            human="emotion_classified_human",
            control="emotion_chance",
        ),
        _quantity("emotion_classified_human", "MCD-Acc, by classifier: human take"),
        _quantity("emotion_chance", "Guessing among the emotions"),
        _OWN,
    )

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._takes: list[Take] = []
        self._cepstra: dict[Path, np.ndarray] = {}
        self._classifier: EmotionClassifier | None = None

    def __getstate__(self) -> dict[str, object]:
        """Leave behind what was computed: the other process reads the folder itself."""
        return vars(Emotion(self.folder))

    def check(self) -> None:
        """Refuse to start without the corpus or what judges.

        Raises:
            ConfigError: the folder is no RAVDESS, has one actor only, or a package is missing.
        """
        for module in ("librosa", "sklearn"):
            require(module, "evaluate")
        actors = {take.actor for take in strongest(read_ravdess(self.folder))}
        if len(actors) < 2:
            raise ConfigError(
                f"{self.folder}: holds {len(actors)} actor; the classifier is trained on others "
                "than it judges: give at least two"
            )

    def judge(self, sample: Sample) -> Judgement:
        """Judge one output of the protocol.

        Raises:
            AudioError: the output is silent.
            ConfigError: the folder is no RAVDESS.
        """
        asked = sample.trial.labels.get("emotion")
        if asked not in EMOTIONS or sample.trial.reference is None:
            return Judgement()
        check_audible(sample.output, "the output")
        reference = self._take_of(sample.trial.reference.path)
        nearest, by_distance = self._compare(sample.output, reference)
        classifier = self._trained()
        named = classifier.classify(sample.output, reference.actor)
        human = classifier.classified_take(reference.path)
        return Judgement(
            values=by_distance
            | {
                "emotion_classified": (float(named == asked), 1.0),
                "emotion_classified_human": (float(human == asked), 1.0),
            },
            # What the classifier makes of this actor's takes is kept, for its own accuracy.
            notes={
                "nearest": nearest,
                "classified": named,
                "own": classifier.own_hits(reference.actor),
            },
        )

    def conclude(self, rows: Sequence[Row]) -> list[Figure]:
        """Give the classifier's own accuracy on the actors of the rows: in all, and by emotion.

        Its interval draws actors, because takes of one actor stand and fall together.
        """
        own: dict[str, Mapping[str, Sequence[int]]] = {
            row.trial.speaker: row.notes[self.name]["own"]
            for row in rows
            if "own" in row.notes.get(self.name, {})
        }
        present = [name for name in EMOTIONS if any(name in hits for hits in own.values())]
        figures = []
        for emotion in [None, *present]:
            pairs = [
                np.sum([pair for name, pair in hits.items() if emotion in (None, name)], axis=0)
                for hits in own.values()
                if emotion is None or emotion in hits
            ]
            if not pairs:
                continue
            interval = ratio_interval([pair[0] for pair in pairs], [pair[1] for pair in pairs])
            figures.append(
                Figure(
                    quantity=_OWN,
                    value=interval.value,
                    low=interval.low,
                    high=interval.high,
                    count=int(sum(pair[1] for pair in pairs)),
                    condition={} if emotion is None else {"emotion": emotion},
                    control=1.0 / len(present),
                )
            )
        return figures

    def _read(self) -> list[Take]:
        if not self._takes:
            self._takes = strongest(read_ravdess(self.folder))
        return self._takes

    def _take_of(self, path: Path) -> Take:
        # By folder and name: the corpus may lie elsewhere than when the trials were made.
        for take in self._read():
            if take.path.parts[-2:] == path.parts[-2:]:
                return take
        raise ConfigError(
            f"{self.folder}: lacks the reference {'/'.join(path.parts[-2:])} of the trial; give "
            "the folder that the trials were made from"
        )

    def _references(self, reference: Take) -> list[Take]:
        """Find the actor's takes of the statement, one in each emotion, the same time if it can."""
        alike = [
            take
            for take in self._read()
            if (take.actor, take.statement) == (reference.actor, reference.statement)
        ]
        alike.sort(key=lambda take: take.repetition != reference.repetition)
        first: dict[str, Take] = {}
        for take in alike:
            first.setdefault(take.emotion, take)
        return list(first.values())

    def _second(self, reference: Take) -> Take | None:
        for take in self._read():
            same = (take.actor, take.statement, take.emotion) == (
                reference.actor,
                reference.statement,
                reference.emotion,
            )
            if same and take.repetition != reference.repetition:
                return take
        return None

    def _compare(
        self, output: np.ndarray, reference: Take
    ) -> tuple[str, dict[str, tuple[float, float]]]:
        """Find the nearest emotion by MCD, with the quantities that distances give."""
        asked, references = reference.emotion, self._references(reference)
        distances = self._distances(spoken_cepstra(output, "the output"), references)
        nearest = min(distances, key=lambda emotion: distances[emotion])
        values = {
            "emotion_mcd": (distances[asked], 1.0),
            "emotion_nearest": (float(nearest == asked), 1.0),
            "emotion_chance": (1.0, float(len(references))),
        }
        others = [value for emotion, value in distances.items() if emotion != asked]
        if others:
            values["emotion_mcd_other"] = (float(np.mean(others)), 1.0)
        second = self._second(reference)
        if second is not None:
            human = self._distances(self._cepstra_of(second), references)
            values["emotion_mcd_human"] = (human[asked], 1.0)
            hit = min(human, key=lambda emotion: human[emotion]) == asked
            values["emotion_nearest_human"] = (float(hit), 1.0)
        return nearest, values

    def _distances(self, cepstra: np.ndarray, references: Sequence[Take]) -> dict[str, float]:
        return {
            take.emotion: warped_cepstral_distortion(cepstra, self._cepstra_of(take))
            for take in references
        }

    def _cepstra_of(self, take: Take) -> np.ndarray:
        if take.path not in self._cepstra:
            sound = read_recording(Recording(path=take.path))
            self._cepstra[take.path] = spoken_cepstra(sound, take.path.name)
        return self._cepstra[take.path]

    def _trained(self) -> EmotionClassifier:
        if self._classifier is None:
            self._classifier = EmotionClassifier(
                [(take.path, take.actor, take.emotion) for take in self._read()]
            )
        return self._classifier
