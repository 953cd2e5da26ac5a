"""A small classifier of acted emotions, which never judges an actor that it was trained on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from parlando.audio import pitch, waveform
from parlando.contracts import AudioError, ConfigError
from parlando.evaluation.distance import mel_cepstra
from parlando.evaluation.measure import RATE_HZ, Recording
from parlando.evaluation.pretrained import require
from parlando.evaluation.sounds import check_audible, read_recording

_HOP_SAMPLES = 200
_TIMBRE = slice(1, 13)
_SHORTEST_VOICED_FRAMES = 5


def pooled_features(samples: np.ndarray) -> np.ndarray:
    """Describe how something is said by moments over the utterance.

    Twelve mel-cepstra (mean, standard deviation, standard deviation of the change over 25 ms), log
    pitch (mean, standard deviation, skewness, 5th and 95th percentile, slope, mean absolute
    change), energy over the speech (the moments of its level in decibels relative to the mean), the
    share of voiced frames and the log length. Level itself counts nothing.

    Args:
        samples: ``(S,)`` at 16 kHz.

    Returns:
        ``(49,)`` float.

    Raises:
        AudioError: there is no speech in the sound.
    """
    check_audible(samples, "the sound")
    spoken = waveform.trim_silence(samples, RATE_HZ)
    if not len(spoken):
        raise AudioError(f"there is no speech in {len(samples) / RATE_HZ:.2f} s of sound")
    cepstra = mel_cepstra(spoken)
    change = cepstra[5:, _TIMBRE] - cepstra[:-5, _TIMBRE]
    hertz, voiced = pitch.f0(spoken, RATE_HZ, _HOP_SAMPLES)
    level = 20.0 / np.log(10.0) * cepstra[:, 0]
    return np.concatenate(
        [
            cepstra[:, _TIMBRE].mean(0),
            cepstra[:, _TIMBRE].std(0),
            change.std(0),
            _pitch_moments(hertz, voiced),
            [level.std(), _skewness(level), *np.percentile(level - level.mean(), [5, 95])],
            [voiced.mean(), np.log(len(spoken) / RATE_HZ)],
        ]
    )


def _pitch_moments(hertz: np.ndarray, voiced: np.ndarray) -> np.ndarray:
    if voiced.sum() < _SHORTEST_VOICED_FRAMES:  # a whisper has no pitch: its voiced share says so
        return np.zeros(7)
    octaves = np.log2(hertz[voiced] / 100.0)
    place = np.flatnonzero(voiced) / len(voiced)
    slope = np.polyfit(place, octaves, 1)[0]
    low, high = np.percentile(octaves, [5, 95])
    return np.array(
        [
            octaves.mean(),
            octaves.std(),
            _skewness(octaves),
            low,
            high,
            slope,
            np.abs(np.diff(octaves)).mean(),
        ]
    )


def _skewness(values: np.ndarray) -> float:
    centred = values - values.mean()
    spread = centred.std()
    return float((centred**3).mean() / spread**3) if spread > 1e-9 else 0.0


def _features_of(path: Path) -> np.ndarray:
    samples = read_recording(Recording(path=path))
    try:
        return pooled_features(samples)
    except AudioError as error:
        raise AudioError(f"{path}: {error}; take it away, or unpack the corpus again") from error


class EmotionClassifier:
    """Linear discriminants on :func:`pooled_features`, one for each actor that is left out.

    Features are standardised by each actor's own takes, without their labels: what a voice is like
    is no emotion. An output is standardised by the actor whose voice it has.

    Args:
        takes: path, actor and emotion of each take; every one is read.

    Raises:
        AudioError: a take cannot be read or holds no speech.
        ConfigError: there are fewer than two actors or emotions, or scikit-learn is missing.
    """

    def __init__(self, takes: Sequence[tuple[Path, str, str]]) -> None:
        require("sklearn", "evaluate")
        actors = sorted({actor for _, actor, _ in takes})
        if len(actors) < 2 or len({emotion for *_, emotion in takes}) < 2:
            raise ConfigError(
                f"{len(actors)} actors; an emotion classifier is trained on others than it judges: "
                "give takes of at least two actors in two emotions"
            )
        self._places = {path: index for index, (path, _, _) in enumerate(takes)}
        self._actors = np.array([actor for _, actor, _ in takes])
        self._emotions = np.array([emotion for *_, emotion in takes])
        features = np.stack([_features_of(path) for path, _, _ in takes])
        self._scales: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for actor in actors:
            mine = features[self._actors == actor]
            self._scales[actor] = mine.mean(0), np.maximum(mine.std(0), 1e-6)
        self._features = np.stack(
            [
                self._standardised(row, actor)
                for row, actor in zip(features, self._actors, strict=True)
            ]
        )
        self._models: dict[str, Any] = {}

    def classify(self, samples: np.ndarray, actor: str) -> str:
        """Name the emotion of ``(S,)`` samples at 16 kHz in the voice of an actor."""
        features = self._standardised(pooled_features(samples), actor)
        return str(self._without(actor).predict(features[None])[0])

    def classified_take(self, path: Path) -> str:
        """Name the emotion of a take, by the model that has not heard its actor."""
        index = self._places[path]
        model = self._without(str(self._actors[index]))
        return str(model.predict(self._features[index][None])[0])

    def own_hits(self, actor: str) -> dict[str, list[int]]:
        """Count, for each emotion, the actor's takes that are named rightly, and all of them."""
        mine = self._actors == actor
        named = self._without(actor).predict(self._features[mine])
        true = self._emotions[mine]
        return {
            str(emotion): [
                int((named[true == emotion] == emotion).sum()),
                int((true == emotion).sum()),
            ]
            for emotion in dict.fromkeys(true)
        }

    def _standardised(self, features: np.ndarray, actor: str) -> np.ndarray:
        mean, spread = self._scales[actor]
        return np.asarray((features - mean) / spread)

    def _without(self, actor: str) -> Any:
        if actor not in self._models:
            from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

            others = self._actors != actor
            # Shrinkage: there are about as many features as takes of one emotion.
            model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
            self._models[actor] = model.fit(self._features[others], self._emotions[others])
        return self._models[actor]
