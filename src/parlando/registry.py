"""The only file that knows every aligner, codec, system and released weight by name."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from parlando.contracts import AudioError, CheckpointError, ConfigError, Synthesizer
from parlando.recipes import RECIPE_NAME, SECTIONS, check_names, from_mapping, read_recipe

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn

    from parlando.aligner.model import Aligner
    from parlando.codecs.codes import AnyCodec
    from parlando.codecs.facodec.model import FACodec
    from parlando.codecs.rvq.model import RVQCodec
    from parlando.converting import Conversion, SoundLike, VoiceConverter
    from parlando.editing import Edit, SpeechEditor
    from parlando.speaking import Speaker
    from parlando.speech import Speech, VoiceLike
    from parlando.systems.naturalspeech2.model import NaturalSpeech2
    from parlando.systems.naturalspeech3.model import NaturalSpeech3
    from parlando.systems.naturalspeech3.synthesis import NaturalSpeech3Synthesizer
    from parlando.systems.valle2.model import VALLE2
    from parlando.systems.valle2.synthesis import Scorer

RELEASES = {
    "aligner-small": "aligner",
    "rvq-small": "codec",
    "facodec-small": "facodec",
    "naturalspeech2-small": "naturalspeech2",
    "naturalspeech3-small": "naturalspeech3",
    "valle2-small": "valle2",
}
"""Released weights, folders of ``parlando/weights``, and the kind of each."""

UNRELEASED = {
    "valle2-small-group1": "parlando train valle2 small --recipe recipes/valle2-small-group1.toml",
}
"""What is built but has no released weights yet, and the command that trains it."""

DEFAULT_SYSTEM = "naturalspeech2-small"
DEFAULT_CONVERTER = "facodec-small"
DEFAULT_EDITOR = "naturalspeech3-small"
CODEC_OF = {
    "naturalspeech2": "rvq-small",
    "naturalspeech3": "facodec-small",
    "valle2": "rvq-small",
}
"""The released codec on whose latents or codes a system is trained."""

_WEIGHTS = Path(__file__).parent / "weights"
_Model = TypeVar("_Model")


def load(
    name: str = DEFAULT_SYSTEM, device: str = "cpu", path: str | Path | None = None
) -> "Speaker":
    """Load a system that speaks.

    Args:
        name: A released system, or the folder of a trained one.
        device: ``cpu``, ``cuda``, ``cuda:1``, ``mps``, or ``auto`` for the best there is.
        path: Folder of weights to use in place of the released ones.

    Raises:
        ConfigError: The name is unknown or the device is not there.
        CheckpointError: The weights are missing, damaged, or of another kind.
    """
    from parlando.speaking import Speaker
    from parlando.training.checkpoint import read_card

    system = load_system(path or name, device)
    config = read_card(release_folder(path or name)).config
    return Speaker(system, example_prompt(), match_timbre=bool(config.get("match_timbre")))


def speak(text: str, voice: "VoiceLike | None" = None, **options: Any) -> "Speech":
    """Speak a text with the default system, loaded on the first call; see ``Speaker.speak``."""
    return _default_speaker().speak(text, voice, **options)


def load_converter(
    place: str | Path = DEFAULT_CONVERTER,
    device: str = "cpu",
    *,
    without: Sequence[str] | None = None,
    strength: float | None = None,
    match_timbre: bool = True,
    rounds: int | None = None,
    approach: float | None = None,
) -> "VoiceConverter":
    """Load what says recordings in another voice.

    Args:
        place: A released factorized codec, or the folder of a trained one, or of a system that
            has one.
        device: As for :func:`load`.
        without: Attributes of the source to leave out; None: ``detail``, which holds its voice.
        strength: How far each round goes from the voice that it hears; 1, as None, is as far as the
            prompt's.
        match_timbre: Whether each kind of sound gets the spectrum that it has in the prompt.
        rounds: How many times a recording is converted; None: twice.
        approach: Power, 0 to 1, of the ratio of the prompt's pitch to the source's by which the
            source's pitch and formants are moved at first, by a quarter at most; None: 0.5.

    Raises:
        ConfigError: The name is unknown, the device is not there, or an option is not valid.
        CheckpointError: The weights are missing, damaged, or of another kind.
    """
    from parlando.codecs.facodec.conversion import FACodecConverter
    from parlando.converting import APPROACH, ROUNDS, STRENGTH, WITHOUT, VoiceConverter

    folder = release_folder(place, "facodec", *_SYSTEMS)
    converter = FACodecConverter(
        load_facodec(converting_codec(folder), device),
        folder.absolute().name,
        WITHOUT if without is None else without,
        STRENGTH if strength is None else strength,
    )
    return VoiceConverter(
        converter,
        match_timbre=match_timbre,
        rounds=ROUNDS if rounds is None else rounds,
        approach=APPROACH if approach is None else approach,
    )


def converting_codec(folder: Path) -> Path:
    """Find the factorized codec that is in a folder, or on which the system in it speaks.

    Raises:
        ConfigError: The system there speaks on another codec, which converts nothing.
        CheckpointError: The folder holds no weights.
    """
    from parlando.training.checkpoint import read_card

    codec = folder
    if (kind := read_card(folder).kind) in _SYSTEMS:
        codec = release_folder(codec_of(folder, kind))
    if (found := read_card(codec).kind) != "facodec":
        raise ConfigError(
            f"{folder.name} cannot convert, for its codec is of kind {found}; give a facodec, or a "
            "system on one"
        )
    return codec


def convert(source: "SoundLike", voice: "VoiceLike") -> "Conversion":
    """Say a recording in another voice, with the default converter; see ``VoiceConverter``."""
    return _default_converter().convert(source, voice)


def load_editor(place: str | Path = DEFAULT_EDITOR, device: str = "cpu") -> "SpeechEditor":
    """Load what says parts of recordings anew.

    Args:
        place: A released NaturalSpeech 3, or the folder of a trained one.
        device: As for :func:`load`.

    Raises:
        ConfigError: The name is unknown, the system cannot edit, or the device is not there.
        CheckpointError: The weights are missing, damaged, or of another kind.
    """
    from parlando.editing import SpeechEditor
    from parlando.systems.naturalspeech3.editing import NaturalSpeech3Editor
    from parlando.training.checkpoint import read_card

    folder = release_folder(place, *_SYSTEMS)
    if (kind := read_card(folder).kind) != "naturalspeech3":
        raise ConfigError(
            f"{place} cannot edit, for it is of {kind}; give a naturalspeech3: {DEFAULT_EDITOR}, "
            "or the folder of a trained one"
        )
    synthesizer = _load_naturalspeech3(folder, device)
    editor = NaturalSpeech3Editor(synthesizer)
    return SpeechEditor(editor, synthesizer.phones, device=str(choose_device(device)))


def edit(source: "SoundLike", transcript: str, text: str, **options: Any) -> "Edit":
    """Let a recording say a new text, with the default editor; see ``SpeechEditor.edit``."""
    return _default_editor().edit(source, transcript, text, **options)


@lru_cache(maxsize=1)
def _default_editor() -> "SpeechEditor":
    return load_editor()


@lru_cache(maxsize=1)
def _default_converter() -> "VoiceConverter":
    return load_converter()


@lru_cache(maxsize=1)
def _default_speaker() -> "Speaker":
    return load()


def example_prompt() -> Path:
    """Return the bundled prompt: no recording of a person, espeak-ng spoke it."""
    return _WEIGHTS / "example_prompt.wav"


def load_aligner(place: str | Path = "aligner-small", device: str = "cpu") -> "Aligner":
    """Load an aligner and phone recogniser; arguments and errors as for :func:`load`."""
    from parlando.aligner.config import AlignerConfig
    from parlando.aligner.model import Aligner

    return _loaded(release_folder(place, "aligner"), "aligner", AlignerConfig, Aligner, device)


def load_codec(place: str | Path = "rvq-small", device: str = "cpu") -> "RVQCodec":
    """Load a codec; arguments and errors as for :func:`load`."""
    from parlando.codecs.rvq.config import RVQConfig
    from parlando.codecs.rvq.model import build_rvq

    return _loaded(release_folder(place, "codec"), "codec", RVQConfig, build_rvq, device)


def load_facodec(place: str | Path = "facodec-small", device: str = "cpu") -> "FACodec":
    """Load a factorized codec; arguments and errors as for :func:`load`."""
    from parlando.codecs.facodec.config import FACodecConfig
    from parlando.codecs.facodec.model import build_facodec

    return _loaded(
        release_folder(place, "facodec"), "facodec", FACodecConfig, build_facodec, device
    )


def load_any_codec(place: str | Path, device: str = "cpu") -> "AnyCodec":
    """Load a codec of either kind; arguments and errors as for :func:`load`."""
    from parlando.training.checkpoint import read_card

    folder = release_folder(place, "codec", "facodec")
    if read_card(folder).kind == "facodec":
        return load_facodec(folder, device)
    return load_codec(folder, device)


def load_system(place: str | Path = DEFAULT_SYSTEM, device: str = "cpu") -> Synthesizer:
    """Load a system below the level of texts; arguments and errors as for :func:`load`."""
    from parlando.training.checkpoint import read_card

    folder = release_folder(place, *_SYSTEMS)
    kind = read_card(folder).kind
    if kind not in _SYSTEMS:
        raise CheckpointError(
            f"{folder}: got weights of '{kind}', expected a system: {', '.join(_SYSTEMS)}"
        )
    return _SYSTEMS[kind](folder, device)


def load_trained(folder: Path, device: str = "cpu") -> "nn.Module":
    """Load the module that a checkpoint or release holds, whatever its kind."""
    from parlando.training.checkpoint import read_card

    kind = read_card(folder).kind
    check_names([kind], _MODULES, "the kinds of weights")
    return _MODULES[kind](folder, device)


def sampled_network(place: str | Path) -> "Callable[[Speaker], nn.Module] | None":
    """Say how to find the network that a system's sampler evaluates, so that it can be counted.

    Returns:
        a function of the loaded speaker, or None for a kind of system that has no such network.
    """
    from parlando.training.checkpoint import read_card

    return _SAMPLED.get(read_card(release_folder(place)).kind)


def release_folder(place: str | Path, *kinds: str) -> Path:
    """Find the weights that a name or path means: a path wins where it exists.

    Args:
        place: Name of a release, or a folder.
        kinds: Which kinds of release may be named; none allows all.

    Raises:
        ConfigError: It is neither.
    """
    if Path(place).is_dir():
        return Path(place)
    if place in UNRELEASED:
        raise ConfigError(
            f"{place} has no released weights yet; train it with '{UNRELEASED[str(place)]}' and "
            "give the folder of its checkpoint"
        )
    names = [name for name, kind in RELEASES.items() if not kinds or kind in kinds]
    if isinstance(place, Path) or "/" in place or "\\" in place:
        raise ConfigError(f"{place}: no such folder; expected one, or {', '.join(names)}")
    check_names([place], names, "this release")
    return _WEIGHTS / place


def codec_of(folder: Path, kind: str = "naturalspeech2") -> str | Path:
    """Find the codec on whose latents or codes the system in a folder was trained.

    A released system may carry one of its own, or name a released one; a run's recipe names it;
    otherwise it is the usual one. Another codec of the same width would load, and make noise.
    """
    from parlando.training.checkpoint import CONFIG_NAME, read_card

    own = folder / "codec"
    if own.is_dir():
        return own
    if (folder / CONFIG_NAME).is_file() and (named := read_card(folder).codec):
        return named
    recipe = folder.absolute().parent.parent / RECIPE_NAME
    if recipe.is_file():
        objective = read_recipe(recipe, SECTIONS).get("objective", {})
        return str(objective.get("codec", CODEC_OF[kind]))
    return CODEC_OF[kind]


def choose_device(name: str) -> "torch.device":
    """Turn the name of a device into the device.

    Raises:
        ConfigError: The name is unknown or there is no such device.
    """
    import torch

    if name == "auto":
        accelerators = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        name = next((name for name, there in accelerators.items() if there), "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # the device "meta" would hold no numbers
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"device {name!r} cannot be used ({reason}); choose cpu, or see parlando doctor"
        ) from error
    return device


def _naturalspeech2_networks(folder: Path, device: str) -> "NaturalSpeech2":
    from parlando.systems.naturalspeech2.config import NaturalSpeech2Config
    from parlando.systems.naturalspeech2.model import NaturalSpeech2
    from parlando.text.vocabulary import SYMBOLS

    def build(config: NaturalSpeech2Config) -> NaturalSpeech2:
        return NaturalSpeech2(config, len(SYMBOLS))

    return _loaded(folder, "naturalspeech2", NaturalSpeech2Config, build, device)


def _load_naturalspeech2(folder: Path, device: str) -> Synthesizer:
    from parlando.systems.naturalspeech2.synthesis import NaturalSpeech2Synthesizer

    model = _naturalspeech2_networks(folder, device)
    codec = load_codec(codec_of(folder), device)
    if model.latent_width != len(codec.latent_mean):
        raise CheckpointError(
            f"{folder}: reads latents of width {model.latent_width}, the codec makes "
            f"{len(codec.latent_mean)}; put the codec it was trained on into {folder / 'codec'}"
        )
    return NaturalSpeech2Synthesizer(model, codec, name=folder.absolute().name)


def _valle2_networks(folder: Path, device: str) -> "VALLE2":
    from parlando.systems.valle2.config import VALLE2Config
    from parlando.systems.valle2.model import VALLE2
    from parlando.text.vocabulary import SYMBOLS

    def build(config: VALLE2Config) -> VALLE2:
        return VALLE2(config, len(SYMBOLS))

    return _loaded(folder, "valle2", VALLE2Config, build, device)


def _naturalspeech3_networks(folder: Path, device: str) -> "NaturalSpeech3":
    from parlando.systems.naturalspeech3.config import NaturalSpeech3Config
    from parlando.systems.naturalspeech3.model import NaturalSpeech3
    from parlando.text.vocabulary import SYMBOLS

    def build(config: NaturalSpeech3Config) -> NaturalSpeech3:
        return NaturalSpeech3(config, len(SYMBOLS))

    return _loaded(folder, "naturalspeech3", NaturalSpeech3Config, build, device)


def _load_valle2(folder: Path, device: str) -> Synthesizer:
    from parlando.systems.valle2.synthesis import VALLE2Synthesizer

    model = _valle2_networks(folder, device)
    codec = load_any_codec(codec_of(folder, "valle2"), device)
    _check_codes(folder, codec, model.levels, model.autoregressive.end)
    aligner = load_aligner(device=device)
    return VALLE2Synthesizer(
        model, codec, aligner, name=folder.absolute().name, scorer=_best_of_scorer(aligner)
    )


def _check_codes(folder: Path, codec: "AnyCodec", levels: int, size: int) -> None:
    from parlando.codecs.codes import code_shape, fits

    if not fits(codec, levels, size):
        has, entries = code_shape(codec)
        raise CheckpointError(
            f"{folder}: speaks {levels} levels of {size} codes, the codec has {has} of {entries}; "
            f"put the codec it was trained on into {folder / 'codec'}"
        )


def _load_naturalspeech3(folder: Path, device: str) -> "NaturalSpeech3Synthesizer":
    from parlando.codecs.facodec.model import FACodec
    from parlando.systems.naturalspeech3.synthesis import NaturalSpeech3Synthesizer

    model = _naturalspeech3_networks(folder, device)
    codec = load_any_codec(codec_of(folder, "naturalspeech3"), device)
    _check_codes(folder, codec, model.config.levels, model.config.codebook_size)
    if model.config.phone_prosody and not isinstance(codec, FACodec):
        raise CheckpointError(
            f"{folder}: draws the prosody of phones, the codec is not factorized; put the codec it "
            f"was trained on into {folder / 'codec'}"
        )
    return NaturalSpeech3Synthesizer(
        model, codec, load_aligner(device=device), name=folder.absolute().name
    )


def _best_of_scorer(aligner: "Aligner") -> "Scorer | None":
    """Judge candidates by likeness to the prompt and by the share of phones that are heard.

    None where the judge of likeness is not installed: who needs one is told before candidates are
    made, and who does not never waits for its import.
    """
    from importlib.util import find_spec

    if find_spec("resemblyzer") is None:
        return None
    import torch

    from parlando.aligner.objective import edit_distance
    from parlando.evaluation.speaker_encoders import load_encoder
    from parlando.text.vocabulary import PHONE_CLASSES, base_phone, is_phone

    encoder = load_encoder("resemblyzer")
    device = next(aligner.parameters()).device

    def score(
        samples: "np.ndarray", symbols: Sequence[str], prompt: "np.ndarray"
    ) -> tuple[float, float]:
        try:
            voices = [encoder.embed(sound, aligner.rate_hz) for sound in (samples, prompt)]
            likeness = float(voices[0] @ voices[1])
        except AudioError:
            likeness = -1.0  # no voice at all is as unlike as can be
        heard = aligner.recognize(torch.from_numpy(samples).to(device))
        said = [base_phone(symbol) for symbol in symbols if is_phone(symbol)]
        numbers = [[PHONE_CLASSES.index(n) for n in part if is_phone(n)] for part in (heard, said)]
        return likeness, 1.0 - edit_distance(*numbers) / max(1, len(said))

    return score


_SYSTEMS: dict[str, Callable[[Path, str], Synthesizer]] = {
    "naturalspeech2": _load_naturalspeech2,
    "naturalspeech3": _load_naturalspeech3,
    "valle2": _load_valle2,
}
_SAMPLED: "dict[str, Callable[[Any], nn.Module]]" = {
    "naturalspeech2": lambda speaker: speaker.synthesizer.model.diffusion,
    # Its two networks are told the time by the same module, once in each evaluation.
    "naturalspeech3": lambda speaker: speaker.synthesizer.model.time,
}
_MODULES: "dict[str, Callable[[Path, str], nn.Module]]" = {
    "aligner": load_aligner,
    "codec": load_codec,
    "facodec": load_facodec,
    "naturalspeech2": _naturalspeech2_networks,
    "naturalspeech3": _naturalspeech3_networks,
    "valle2": _valle2_networks,
}


def _loaded(
    folder: Path,
    kind: str,
    config_type: type[Any],
    build: Callable[[Any], _Model],
    device: str,
) -> _Model:
    """Build a module from a checkpoint's configuration and fill it with its weights."""
    from parlando.training.checkpoint import load_weights, read_card

    chosen = choose_device(device)
    card = read_card(folder, kind)
    try:
        config = from_mapping(config_type, card.config, "config")
    except ConfigError as error:
        raise CheckpointError(f"{folder}: {error}; it is of another version") from error
    module: Any = build(config)
    load_weights(folder, module)
    return module.eval().requires_grad_(False).to(chosen)
