"""Predicted opinions: noise is heard, files are checked, people stand beside."""

import pickle

import numpy as np
import pytest
import torch
from speechlike import speechlike

from parlando.contracts import AudioError, CheckpointError, ConfigError
from parlando.evaluation import naturalness
from parlando.evaluation.measure import Row, Sample, Trial, figures_of
from parlando.evaluation.naturalness import Naturalness, Utmos, dnsmos


class Loudness(torch.nn.Module):
    """Of UTMOS's signature; what it returns is known."""

    def forward(self, waveform: torch.Tensor, rate_hz: int) -> torch.Tensor:
        return waveform.abs().amax(1) + rate_hz / 16000.0


class WaveformOnly(torch.nn.Module):
    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        return waveform.mean(1)


class ScorePerSample(torch.nn.Module):
    def forward(self, waveform: torch.Tensor, rate_hz: int) -> torch.Tensor:
        return waveform * rate_hz


@pytest.fixture(autouse=True)
def _no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(naturalness.UTMOS_VARIABLE, raising=False)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in for the networks, where what is done with their scores is at question."""
    monkeypatch.setattr(
        naturalness,
        "dnsmos",
        lambda samples: dict.fromkeys(("ovrl", "sig", "bak", "p808"), float(np.abs(samples).max())),
    )


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "utmos.pt"
    torch.jit.script(Loudness()).save(str(path))
    return path


def sample(output, reference=None) -> Sample:
    return Sample(trial=Trial(id="one"), output=output, reference=reference)


def test_dnsmos_hears_noise_as_its_package_does() -> None:
    from speechmos import dnsmos as package

    voice = speechlike(2.0)
    noise = np.random.default_rng(0).standard_normal(len(voice)).astype(np.float32)
    found = [dnsmos(voice + level * noise) for level in (0.0, 0.01, 0.1)]
    assert list(found[0]) == ["ovrl", "sig", "bak", "p808"]
    for name in ("ovrl", "bak"):
        scores = [one[name] for one in found]
        assert scores == sorted(scores, reverse=True), name
        assert scores[0] - scores[-1] > 0.2, name
    theirs = package.run(np.tile(voice, 5)[:144_160], 16_000)
    assert found[0] == pytest.approx({name: theirs[f"{name}_mos"] for name in found[0]}, abs=1e-4)


def test_dnsmos_takes_what_is_too_loud_or_short_and_repeats_itself() -> None:
    brief = 4.0 * speechlike(0.2)
    assert np.abs(brief).max() > 1.0
    assert dnsmos(brief) == dnsmos(np.clip(brief, -1.0, 1.0))


def test_dnsmos_is_called_what_it_is() -> None:
    overall = Naturalness().quantities[0]
    assert overall.key == "dnsmos_ovrl"
    assert overall.title == (
        "DNSMOS P.835 overall: a measure of noise and distortion, no judge of naturalness"
    )


@pytest.mark.usefixtures("quick")
def test_people_stand_beside() -> None:
    voice = speechlike(0.5)
    judged = Naturalness().judge(sample(np.float32(0.5) * voice, voice))
    row = Row(trial=Trial(id="one"), values=judged.values)
    figure = figures_of([row], Naturalness().quantities)[0]
    assert figure.human == pytest.approx(2.0 * figure.value)
    alone = Naturalness().judge(sample(voice))
    assert set(alone.values) == {"dnsmos_ovrl", "dnsmos_sig", "dnsmos_bak", "dnsmos_p808"}


@pytest.mark.usefixtures("quick")
def test_utmos_from_a_file(checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    voice = speechlike(0.5)
    measure = Naturalness(utmos=checkpoint)
    measure.check()
    top, bottom = measure.judge(sample(voice, voice)).values["utmos"]
    assert top / bottom == pytest.approx(1.0 + voice.max(), abs=1e-5)
    assert measure.judge(sample(voice, voice)).values["utmos_human"] == (top, bottom)
    # A judge that has loaded its model travels as well as one that has not.
    again = pickle.loads(pickle.dumps(measure))
    assert again.judge(sample(voice)).values["utmos"] == (top, bottom)
    assert {quantity.judge for quantity in measure.quantities if "utmos" in quantity.key} == {
        "UTMOS (utmos.pt)"
    }
    monkeypatch.setenv(naturalness.UTMOS_VARIABLE, str(checkpoint))
    assert "utmos" in Naturalness().judge(sample(voice)).values


def test_without_utmos_there_is_no_column() -> None:
    assert not any("utmos" in quantity.key for quantity in Naturalness().quantities)


def test_a_missing_checkpoint_says_what_to_do(tmp_path) -> None:
    with pytest.raises(CheckpointError, match=r"there is no such .* --utmos or PARLANDO_UTMOS"):
        Naturalness(utmos=tmp_path / "nothing.pt").check()


def test_other_files_are_refused_in_one_line(tmp_path) -> None:
    voice = speechlike(0.2)
    (tmp_path / "text.pt").write_text("no model")
    torch.jit.script(WaveformOnly()).save(str(tmp_path / "other.pt"))
    torch.jit.script(ScorePerSample()).save(str(tmp_path / "many.pt"))
    for name, reason in (
        ("text.pt", "is no TorchScript file"),
        ("other.pt", r"fails on a waveform of shape \(1, 3200\) with rate 16000"),
        ("many.pt", "expected one score"),
    ):
        with pytest.raises(CheckpointError, match=reason) as caught:
            Utmos(tmp_path / name).score(voice)
        assert "\n" not in str(caught.value)


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "speechmos.dnsmos", None)
    with pytest.raises(ConfigError, match=r"pip install 'parlando\[evaluate\]'"):
        Naturalness().check()


@pytest.mark.parametrize("silent", [np.zeros(16_000, np.float32), np.zeros(0, np.float32)])
def test_silence_is_one_line(silent: np.ndarray) -> None:
    voice = speechlike(0.5)
    with pytest.raises(AudioError, match=r"^the output") as caught:
        Naturalness().judge(sample(silent, voice))
    assert "\n" not in str(caught.value)
