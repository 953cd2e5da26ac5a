"""Speech to a vector that depends on who speaks.

Every encoder has a scale of its own: 0.75 of one is far apart to another. All of them are loaded at
their first sound, and travel to other processes without their weights.
"""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from parlando.audio.waveform import resample, speech_bounds
from parlando.contracts import AudioError, ConfigError
from parlando.evaluation.pretrained import Pretrained, place_name, require

RATE_HZ = 16_000
WAVLM = "microsoft/wavlm-base-plus-sv"
"""Freely licensed; the papers' own is WavLM-large with a TDNN, whose scale is another."""


class SpeakerEncoder(Protocol):
    """Speech to a vector that depends on who speaks."""

    name: str

    def embed(self, samples: np.ndarray, rate_hz: int) -> np.ndarray:
        """Map ``(S,)`` float samples to a vector ``(D,)`` of unit length.

        Raises:
            AudioError: if no voice is found in the samples.
        """


class ResemblyzerEncoder:
    """GE2E speaker encoder with the weights that the ``resemblyzer`` package bundles, on the CPU.

    Preparation, by the package's own ``preprocess_wav``: 16 kHz, level raised to -30 dBFS where
    it is below (louder speech stays as it is, and the features are not logarithmic: level counts
    a little), silences cut down by a voice detector. The embedding is the normalised mean over
    windows of 1.6 s. No entry is negative, so that even unlike voices score far above zero.
    """

    name = "resemblyzer 0.1 (GE2E)"

    def __init__(self) -> None:
        self._encoder: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {"_encoder": None}

    def check(self) -> None:
        """Raise ``ConfigError`` if the package is not installed."""
        self._package()

    def embed(self, samples: np.ndarray, rate_hz: int) -> np.ndarray:
        """Map ``(S,)`` float samples to a unit vector ``(256,)``.

        Raises:
            AudioError: if no voice is found in the samples.
        """
        package = self._package()
        if self._encoder is None:
            self._encoder = package.VoiceEncoder("cpu", verbose=False)
        samples = resample(samples, rate_hz, RATE_HZ)
        loudest = float(np.abs(samples).max(initial=0.0))
        clipped = np.clip(samples, -1.0, 1.0)
        voiced = package.preprocess_wav(clipped) if loudest > 0 else samples[:0]
        if voiced.size == 0:
            raise _no_voice(samples)
        return np.asarray(self._encoder.embed_utterance(voiced))

    def _package(self) -> Any:
        with warnings.catch_warnings():
            # Its voice detector announces the end of pkg_resources at every import.
            warnings.simplefilter("ignore")
            return require("resemblyzer", "evaluate")


class WavLMEncoder(Pretrained):
    """WavLM with an x-vector head.

    Source: Chen et al., 2022. Silence around the speech is cut away, since the head takes the mean
    over all frames.

    Args:
        model: folder of weights and processor, or a name on the hub.
    """

    classes = ("WavLMForXVector", "Wav2Vec2FeatureExtractor")

    def __init__(self, model: str | Path = WAVLM) -> None:
        self.name = f"WavLM x-vector {place_name(model)}"
        super().__init__(model)

    def embed(self, samples: np.ndarray, rate_hz: int) -> np.ndarray:
        """Map ``(S,)`` float samples to a unit vector ``(D,)``.

        Raises:
            AudioError: if the samples are silent, or hold less than 0.25 s.
        """
        import torch

        network, processor = self.loaded()
        samples = resample(samples, rate_hz, RATE_HZ)
        start, stop = speech_bounds(samples, RATE_HZ)
        if stop - start < RATE_HZ // 4:
            raise _no_voice(samples)
        inputs = processor(samples[start:stop], sampling_rate=RATE_HZ, return_tensors="pt")
        with torch.inference_mode():
            vector = network(**inputs).embeddings[0].double().numpy()
        return vector / max(float(np.linalg.norm(vector)), 1e-12)


ENCODERS: dict[str, Callable[..., SpeakerEncoder]] = {
    "resemblyzer": ResemblyzerEncoder,
    "wavlm": WavLMEncoder,
}
"""Speaker encoders by the name that a person types."""


def load_encoder(name: str, model_path: str | Path | None = None) -> SpeakerEncoder:
    """Make a speaker encoder; its weights are loaded at the first sound.

    Args:
        name: ``resemblyzer`` or ``wavlm``.
        model_path: folder of weights, or a name on the hub; None takes the usual ones.

    Raises:
        ConfigError: the name is unknown, or resemblyzer is given weights.
    """
    if name not in ENCODERS:
        raise ConfigError(f"unknown speaker encoder {name!r}; expected {' or '.join(ENCODERS)}")
    if model_path is None:
        return ENCODERS[name]()
    if name == "resemblyzer":
        raise ConfigError(
            f"resemblyzer brings its own weights, got {model_path}; use wavlm with it"
        )
    return ENCODERS[name](model_path)


def _no_voice(samples: np.ndarray) -> AudioError:
    loudest = float(np.abs(samples).max(initial=0.0))
    return AudioError(
        f"no voice in {len(samples) / RATE_HZ:.2f} s of sound with peak {loudest:.3f}; a speaker "
        "embedding needs speech"
    )
