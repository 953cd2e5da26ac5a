"""Folders of sound files: which file belongs to which trial or recording, by its name."""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from parlando.contracts import AudioError, ConfigError
from parlando.evaluation.measure import RATE_HZ, Recording, Trial

SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3")
"""Endings of sound files."""

_OTHER = re.compile(r"[^\w.+,=@-]+")
_SHOWN = 3
_NEED_TEXTS = ("intelligibility", "phones", "robustness")


def sound_files(folder: Path) -> dict[str, Path]:
    """Find the sound files of a folder and of those in it, by their names without ending.

    Raises:
        ConfigError: there is no such folder, it holds no sound, or two files share a name.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder; give one of sound files")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in SUFFIXES:
            continue
        if path.stem in found:
            raise ConfigError(
                f"{folder}: {found[path.stem].relative_to(folder)} and {path.relative_to(folder)} "
                "have the same name; rename one, for files are matched by name"
            )
        found[path.stem] = path
    if not found:
        raise ConfigError(f"{folder}: holds no sound file; expected {', '.join(SUFFIXES)}")
    return found


def paired(
    outputs: Mapping[str, Path], names: Collection[str], where: Path, what: str
) -> tuple[str, ...]:
    """Say what in a folder has no counterpart; what is judged is what has one.

    A name that lacks its file stays in the list and becomes a row that failed.

    Args:
        outputs: files by name.
        names: the names that are expected.
        where: the folder of the outputs.
        what: what the names are, in the plural: ``trials``, ``references``.

    Returns:
        remarks for the report.

    Raises:
        ConfigError: nothing has a counterpart.
    """
    if not outputs.keys() & set(names):
        raise ConfigError(
            f"{where}: no file is named like one of the {len(names)} {what} "
            f"(got {_few(outputs)}; expected {_few(names)}); rename the files"
        )
    remarks = []
    if extra := [name for name in outputs if name not in names]:
        remarks.append(f"{len(extra)} files are none of the {what}, not judged: {_few(extra)}")
    if missing := [name for name in names if name not in outputs]:
        remarks.append(f"{len(missing)} {what} have no file, counted as failed: {_few(missing)}")
    return tuple(remarks)


def outputs_of(
    files: Mapping[str, Path], trials: Sequence[Trial], where: Path
) -> tuple[dict[str, Path], tuple[str, ...]]:
    """Find the output of each trial: named by its id, or by the recording whose text it speaks.

    Args:
        files: sound files by name.
        trials: what was asked for.
        where: the folder of the files.

    Returns:
        file of each trial that has one, by its id, and remarks for the report.

    Raises:
        ConfigError: there is none for any trial.
    """
    ids = {trial.id: trial.id for trial in trials}
    stems = [trial.reference.path.stem for trial in trials if trial.reference is not None]
    if len(set(stems)) == len(trials):
        # Only where a recording means one trial: under several conditions it would mean all.
        ids = dict(zip(stems, ids, strict=True)) | ids
    found = {ids[name]: path for name, path in files.items() if name in ids}
    unknown = {name: path for name, path in files.items() if name not in ids}
    return found, paired({**found, **unknown}, [trial.id for trial in trials], where, "trials")


def check_rates(paths: Sequence[Path]) -> tuple[str, ...]:
    """Refuse sound of less than 16 kHz, and say which is converted to it.

    Returns:
        remarks for the report.

    Raises:
        AudioError: a file cannot be read, or its rate is too low to be judged beside others.
    """
    import soundfile

    higher: dict[int, int] = {}
    for path in paths:
        try:
            rate_hz = soundfile.info(str(path)).samplerate
        except (soundfile.LibsndfileError, OSError, RuntimeError) as error:
            raise AudioError(f"{path}: cannot be read as sound; remove or replace it") from error
        if rate_hz < RATE_HZ:
            raise AudioError(
                f"{path}: has {rate_hz} Hz, everything is judged at {RATE_HZ} Hz, and what a lower "
                "rate cut off does not come back; give the recordings as they were made"
            )
        if rate_hz > RATE_HZ:
            higher[rate_hz] = higher.get(rate_hz, 0) + 1
    return tuple(
        f"{count} files of {rate} Hz are converted to {RATE_HZ} Hz, at which everything is judged"
        for rate, count in sorted(higher.items())
    )


def reference_trials(folder: Path) -> list[Trial]:
    """Make a trial of every recording in a folder; a ``.txt`` of its name beside it is its text.

    Raises:
        ConfigError: see :func:`sound_files`; or two names differ only in signs.
        AudioError: see :func:`check_rates`.
    """
    trials: dict[str, Trial] = {}
    for name, path in sound_files(folder).items():
        key = trial_id(name)
        if key in trials:
            raise ConfigError(f"{folder}: '{name}' is too like another name; rename it")
        transcript = path.with_suffix(".txt")
        text = transcript.read_text(encoding="utf-8").strip() if transcript.is_file() else ""
        trials[key] = Trial(id=key, text=text or None, reference=Recording(path=path))
    return list(trials.values())


def check_texts(
    trials: Sequence[Trial], measures: Collection[str], folder: Path, *, asked: bool
) -> tuple[str, ...]:
    """Say of how many recordings words are not measured, for want of a text.

    Args:
        trials: of the recordings.
        measures: names of what is measured.
        folder: where the recordings lie.
        asked: whether a person asked for these measures by name.

    Returns:
        remarks for the report.

    Raises:
        ConfigError: a measure was asked for that needs texts, and there is none.
    """
    needing = " and ".join(name for name in measures if name in _NEED_TEXTS)
    silent = sum(trial.text is None for trial in trials)
    if not needing or not silent:
        return ()
    if silent == len(trials) and asked:
        raise ConfigError(
            f"{folder}: none of {silent} recordings has a text, and {needing} cannot do without; "
            "put NAME.txt beside NAME.wav, or leave that out of --measures"
        )
    return (
        f"{silent} of {len(trials)} recordings have no text (NAME.txt beside NAME.wav): "
        f"{needing} not measured of them",
    )


def trial_id(name: str) -> str:
    """Turn a name into one that is fit for a file."""
    return _OTHER.sub("_", name)


def _few(names: Collection[str]) -> str:
    shown = ", ".join(sorted(names)[:_SHOWN])
    return f"{shown}, …" if len(names) > _SHOWN else shown
