"""``parlando doctor`` tells what is there, what is not, and what to do."""

import pytest

from parlando.cli import doctor
from parlando.cli.main import main


@pytest.fixture(autouse=True)
def weights(monkeypatch):
    monkeypatch.setattr(doctor, "_weights", lambda: [("aligner-small", "aligner")])


def test_report_names_versions_devices_and_extras(capsys):
    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out
    for word in ("parlando", "python", "torch", "espeak-ng", "cpu threads", "extra train"):
        assert f"\n{word}" in f"\n{printed}"
    assert printed.endswith("Ready to speak.\n")


def test_missing_package_is_a_problem_with_its_cure(monkeypatch, capsys):
    installed = doctor._installed
    monkeypatch.setattr(
        doctor, "_installed", lambda name: None if name == "soxr" else installed(name)
    )
    assert main(["doctor"]) == 1
    printed = capsys.readouterr().out
    assert "PROBLEM" in printed
    assert "pip install soxr" in printed


def test_missing_extra_is_no_problem(monkeypatch, capsys):
    installed = doctor._installed
    missing = {"jiwer", "lhotse"}
    monkeypatch.setattr(
        doctor, "_installed", lambda name: None if name in missing else installed(name)
    )
    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out
    assert "lacks jiwer; to evaluate: pip install 'parlando[evaluate]'" in printed
    assert "lacks lhotse; to train: pip install 'parlando[train]'" in printed
