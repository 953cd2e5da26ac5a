"""Opinions that networks predict from sound alone; none of them replaces a listener.

DNSMOS was trained on noisy and denoised speech of real people. It hears hiss, hum and clipping; a
voice that drones, or says the wrong words cleanly, scores high. UTMOS was trained on synthetic
speech and ranks systems of its year well; it is no human judgement either.
"""

import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from parlando.contracts import CheckpointError
from parlando.evaluation.measure import RATE_HZ, Figure, Judgement, Quantity, Row, Sample
from parlando.evaluation.pretrained import require
from parlando.evaluation.sounds import check_audible

UTMOS_VARIABLE = "PARLANDO_UTMOS"
"""Environment variable that names the UTMOS checkpoint."""

_WINDOW_SAMPLES = 144_160
_DNSMOS_JUDGE = "DNSMOS (package speechmos), sounds as they are, clipped at full scale"
_DNSMOS = {
    "ovrl": "DNSMOS P.835 overall: a measure of noise and distortion, no judge of naturalness",
    "sig": "DNSMOS P.835 signal: distortion of the speech",
    "bak": "DNSMOS P.835 background: absence of noise",
    "p808": "DNSMOS P.808: noise and distortion, on the scale of P.808",
}


class Utmos:
    """UTMOS from a TorchScript file: a module from waveform ``(B, S)`` and rate to ``(B,)``.

    Source: Saeki et al., "UTMOS: UTokyo-SaruLab system for VoiceMOS Challenge 2022". The file is
    what ``torch.jit.script(model).save(path)`` writes for a model of that signature, such as the
    ``utmos22_strong`` of tarepan/SpeechMOS.

    Args:
        path: of the file; it is opened at the first sound.
    """

    rate_hz = RATE_HZ

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._model: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the model behind: the other process loads its own."""
        return {"path": self.path, "_model": None}

    def check(self) -> None:
        """Refuse to start without the file.

        Raises:
            CheckpointError: there is none.
        """
        if not self.path.is_file():
            raise CheckpointError(
                f"{self.path}: there is no such UTMOS checkpoint; give the TorchScript file of a "
                f"module (waveform, rate) -> score with --utmos or {UTMOS_VARIABLE}, or leave both "
                "out"
            )

    def score(self, samples: np.ndarray) -> float:
        """Predict the mean opinion, about 1 to 5, of ``(S,)`` samples at 16 kHz.

        Raises:
            CheckpointError: the file is missing, no TorchScript, or of another signature.
        """
        import torch

        if self._model is None:
            self.check()
            try:
                self._model = torch.jit.load(str(self.path), map_location="cpu").eval()
            except (RuntimeError, ValueError) as error:
                raise CheckpointError(
                    f"{self.path}: is no TorchScript file; write it with "
                    "torch.jit.script(model).save(path)"
                ) from error
        waveform = torch.from_numpy(np.ascontiguousarray(samples, dtype=np.float32))[None]
        try:
            with torch.inference_mode():
                scores = self._model(waveform, self.rate_hz)
        except RuntimeError as error:
            raise CheckpointError(
                f"{self.path}: fails on a waveform of shape {tuple(waveform.shape)} with rate "
                f"{self.rate_hz} ({str(error).strip().splitlines()[-1].strip()}); expected a "
                "module (waveform, rate) -> score"
            ) from error
        if not isinstance(scores, torch.Tensor) or scores.numel() != 1:
            raise CheckpointError(
                f"{self.path}: returned {getattr(scores, 'shape', type(scores).__name__)} for one "
                "waveform; expected one score"
            )
        return float(scores)


def dnsmos(samples: np.ndarray) -> Mapping[str, float]:
    """Predict how noisy and distorted speech is.

    Source: Reddy et al., "DNSMOS P.835", 2022, and "DNSMOS", 2021 (P.808). Windows of 9.01 s in
    steps of 1 s are averaged. Deviation: shorter sound is repeated to fill one window; the package
    doubles it until it is long enough, and judges the same seconds in up to nine windows.

    Args:
        samples: ``(S,)`` at 16 kHz.

    Returns:
        ``ovrl``, ``sig``, ``bak`` and ``p808``, each about 1 to 5, higher is better.

    Raises:
        AudioError: the sound is silent or not finite.
        ConfigError: ``speechmos`` is not installed.
    """
    check_audible(samples, "the sound")
    filled = np.resize(samples, max(len(samples), _WINDOW_SAMPLES))
    found = _dnsmos_networks()(np.clip(filled, -1.0, 1.0).astype(np.float32), RATE_HZ, False)
    return {name: float(found[f"{name}_mos"]) for name in _DNSMOS}


@cache
def _dnsmos_networks() -> Any:
    """Load the package's networks, on one thread each: evaluation runs one process a core."""
    onnxruntime = require("onnxruntime", "evaluate")
    package = require("speechmos.dnsmos", "evaluate")
    folder = Path(package.__file__).parent / "dnsmos_models"
    networks = package.DNSMOS(str(folder / "sig_bak_ovr.onnx"), str(folder / "model_v8.onnx"))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    for name, file in (("onnx_sess", "sig_bak_ovr.onnx"), ("p808_onnx_sess", "model_v8.onnx")):
        setattr(networks, name, onnxruntime.InferenceSession(str(folder / file), options))
    return networks


class Naturalness:
    """Predicted opinions of the output, with those of the human recording beside them.

    Args:
        utmos: TorchScript file of UTMOS; without it, and without the environment variable
            ``PARLANDO_UTMOS``, there is no UTMOS column.
    """

    name = "naturalness"

    def __init__(self, utmos: str | Path | None = None) -> None:
        place = utmos or os.environ.get(UTMOS_VARIABLE)
        self._utmos = Utmos(place) if place else None
        quantities = [
            quantity
            for name, title in _DNSMOS.items()
            for quantity in _pair(f"dnsmos_{name}", title, _DNSMOS_JUDGE, "Reddy et al. 2022")
        ]
        if self._utmos is not None:
            judge = f"UTMOS ({self._utmos.path.name})"
            quantities += _pair("utmos", "UTMOS", judge, "NaturalSpeech 3, appendix A.4")
        self.quantities = tuple(quantities)

    def check(self) -> None:
        """Refuse to start without what judges.

        Raises:
            ConfigError: ``speechmos`` is not installed.
            CheckpointError: the UTMOS checkpoint is not there.
        """
        require("speechmos.dnsmos", "evaluate")
        if self._utmos is not None:
            self._utmos.check()

    def judge(self, sample: Sample) -> Judgement:
        """Score the output, and the reference where there is one.

        Raises:
            AudioError: output or reference is silent.
        """
        check_audible(sample.output, "the output")
        values = self._scores(sample.output, "")
        if sample.reference is not None:
            check_audible(sample.reference, "the reference")
            values |= self._scores(sample.reference, "_human")
        return Judgement(values=values)

    def conclude(self, rows: Sequence[Row]) -> list[Figure]:
        """Give none: every score is a mean over samples."""
        return []

    def _scores(self, samples: np.ndarray, suffix: str) -> dict[str, tuple[float, float]]:
        scores = {f"dnsmos_{name}": value for name, value in dnsmos(samples).items()}
        if self._utmos is not None:
            scores["utmos"] = self._utmos.score(samples)
        return {f"{name}{suffix}": (value, 1.0) for name, value in scores.items()}


def _pair(key: str, title: str, judge: str, source: str) -> tuple[Quantity, Quantity]:
    human = Quantity(
        key=f"{key}_human", title=f"{title} (human recordings)", judge=judge, source=source
    )
    output = Quantity(
        key=key, title=title, better="higher", judge=judge, human=human.key, source=source
    )
    return output, human
