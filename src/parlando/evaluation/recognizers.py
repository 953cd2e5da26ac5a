"""Speech to words: recognisers that an error rate is measured with.

An error rate is one of its recogniser as much as of the speech: the name goes beside each figure,
and two recognisers never share a column. All of them are loaded at their first sound, keep nothing
from one sound to the next, and travel to other processes without their weights.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from parlando.audio.waveform import resample
from parlando.contracts import ConfigError, TextError
from parlando.evaluation.pretrained import Pretrained, place_name, require
from parlando.text.normalize import normalize

RATE_HZ = 16_000
HUBERT = "facebook/hubert-large-ls960-ft"
"""The recogniser of VALL-E, NaturalSpeech 2 and NaturalSpeech 3."""
WHISPER = "openai/whisper-large-v3"
"""The recogniser of F5-TTS and Seed-TTS."""

LONGEST_PIECE_SECONDS = 30.0
"""Longer sound is cut at its quietest places: what Whisper takes, and HuBERT has memory for."""
_SEARCH_SECONDS = 5.0
_FRAME_SAMPLES = 320
# Below the receptive field of HuBERT's convolutions (400 samples) there is no frame at all.
_SHORTEST_SAMPLES = 1600


class Recognizer(Protocol):
    """Speech to written words."""

    name: str

    def transcribe(self, samples: np.ndarray, rate_hz: int) -> str:
        """Return the words heard in ``(S,)`` float samples in [-1, 1], numbers written out."""


class PocketsphinxRecognizer:
    """Offline large-vocabulary recogniser with the en-us model that its package bundles.

    It is weak by today's standards, and the same for everyone: use it for comparisons. Every
    utterance is decoded from a fresh state, so that the order of utterances changes nothing.
    """

    name = "pocketsphinx-5 en-us"

    def __init__(self) -> None:
        self._decoder: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {"_decoder": None}

    def check(self) -> None:
        """Raise ``ConfigError`` if the package is not installed."""
        require("pocketsphinx", "evaluate")

    def transcribe(self, samples: np.ndarray, rate_hz: int) -> str:
        """Return the best word string for ``(S,)`` float samples, or an empty string."""
        if self._decoder is None:
            # Whole-utterance mean normalisation: the default keeps a mean across utterances.
            self._decoder = require("pocketsphinx", "evaluate").Decoder(
                samprate=float(RATE_HZ), loglevel="FATAL", cmn="batch"
            )
        samples = resample(samples, rate_hz, RATE_HZ)
        pcm = np.round(np.clip(samples, -1.0, 1.0) * 32767.0).astype("<i2")
        if pcm.size == 0:
            return ""
        # The noise tracker and gain control also remember: without this, results drift.
        self._decoder.reinit_feat()
        self._decoder.start_utt()
        self._decoder.process_raw(pcm.tobytes(), no_search=False, full_utt=True)
        self._decoder.end_utt()
        best = self._decoder.hyp()
        return best.hypstr if best is not None else ""


class HubertRecognizer(Pretrained):
    """HuBERT with a CTC head, decoded greedily and without a language model.

    Source: Hsu et al., 2021; NaturalSpeech 2, 4.3 and NaturalSpeech 3, 4.1 measure with its large
    size, fine-tuned on LibriSpeech's 960 hours.

    Args:
        model: folder of weights and processor, or a name on the hub.
    """

    classes = ("HubertForCTC", "Wav2Vec2Processor")

    def __init__(self, model: str | Path = HUBERT) -> None:
        self.name = f"HuBERT CTC {place_name(model)}"
        super().__init__(model)

    def transcribe(self, samples: np.ndarray, rate_hz: int) -> str:
        """Return the words in ``(S,)`` float samples, lower case."""
        import torch

        network, processor = self.loaded()
        heard = []
        for piece in quiet_pieces(resample(samples, rate_hz, RATE_HZ)):
            inputs = processor(padded(piece), sampling_rate=RATE_HZ, return_tensors="pt")
            with torch.inference_mode():
                classes = network(**inputs).logits.argmax(-1)
            heard.append(processor.batch_decode(classes)[0])
        return " ".join(" ".join(heard).lower().split())


class WhisperRecognizer(Pretrained):
    """Whisper, decoded greedily in English; what it writes as figures is written out.

    Source: Radford et al., 2022. It has a language model inside, which mends what was said badly.

    Args:
        model: folder of weights and processor, or a name on the hub.
    """

    classes = ("WhisperForConditionalGeneration", "WhisperProcessor")

    def __init__(self, model: str | Path = WHISPER) -> None:
        self.name = f"Whisper {place_name(model)}"
        super().__init__(model)

    def transcribe(self, samples: np.ndarray, rate_hz: int) -> str:
        """Return the words in ``(S,)`` float samples, as :func:`normalize` spells them."""
        import torch

        network, processor = self.loaded()
        # English-only models refuse to be told the language.
        many = getattr(network.generation_config, "is_multilingual", False)
        told = {"language": "en", "task": "transcribe"} if many else {}
        heard = []
        for piece in quiet_pieces(resample(samples, rate_hz, RATE_HZ)):
            inputs = processor(
                padded(piece),
                sampling_rate=RATE_HZ,
                return_tensors="pt",
                return_attention_mask=True,
            )
            with torch.inference_mode():
                tokens = network.generate(**inputs, **told, do_sample=False, num_beams=1)
            heard.append(processor.batch_decode(tokens, skip_special_tokens=True)[0].strip())
        try:
            return normalize(" ".join(heard))
        except TextError:  # signs only, or nothing
            return ""


RECOGNIZERS: dict[str, Callable[..., Recognizer]] = {
    "pocketsphinx": PocketsphinxRecognizer,
    "hubert": HubertRecognizer,
    "whisper": WhisperRecognizer,
}
"""Recognisers by the name that a person types."""


def load_recognizer(name: str, model_path: str | Path | None = None) -> Recognizer:
    """Make a recogniser; its weights are loaded at the first sound.

    Args:
        name: ``pocketsphinx``, ``hubert`` or ``whisper``.
        model_path: folder of weights, or a name on the hub; None takes what the papers took.

    Raises:
        ConfigError: the name is unknown, or pocketsphinx is given weights.
    """
    if name not in RECOGNIZERS:
        raise ConfigError(f"unknown recogniser {name!r}; expected one of {', '.join(RECOGNIZERS)}")
    if model_path is None:
        return RECOGNIZERS[name]()
    if name == "pocketsphinx":
        raise ConfigError(
            f"pocketsphinx brings its own model, got {model_path}; use hubert or whisper with it"
        )
    return RECOGNIZERS[name](model_path)


def quiet_pieces(
    samples: np.ndarray, longest_seconds: float = LONGEST_PIECE_SECONDS
) -> Iterator[np.ndarray]:
    """Cut sound at the quietest 20 ms of the last 5 s that fit into a piece.

    Args:
        samples: ``(S,)`` at 16 kHz.
        longest_seconds: of a piece, more than 5.

    Yields:
        the pieces, ``(S',)``; joined they are the samples. Nothing for no samples.
    """
    longest, search = round(longest_seconds * RATE_HZ), round(_SEARCH_SECONDS * RATE_HZ)
    while len(samples) > longest:
        tail = samples[longest - search : longest].reshape(-1, _FRAME_SAMPLES)
        quietest = int((tail.astype(np.float64) ** 2).sum(1).argmin())
        cut = longest - search + quietest * _FRAME_SAMPLES + _FRAME_SAMPLES // 2
        yield samples[:cut]
        samples = samples[cut:]
    if len(samples):
        yield samples


def padded(samples: np.ndarray) -> np.ndarray:
    """Lengthen ``(S,)`` samples with silence to what every network takes, 0.1 s."""
    return np.pad(samples, (0, max(0, _SHORTEST_SAMPLES - len(samples))))
