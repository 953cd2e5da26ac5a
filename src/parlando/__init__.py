"""Parlando speaks in a voice it has heard for three seconds.

The public names are loaded when they are first used, so that importing the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parlando.audio.waveform import Waveform
    from parlando.contracts import (
        AudioError,
        CheckpointError,
        ConfigError,
        ParlandoError,
        PromptError,
        SpeakOptions,
        TextError,
    )
    from parlando.converting import Conversion, VoiceConverter
    from parlando.editing import Edit, SpeechEditor
    from parlando.registry import convert, edit, load, load_converter, load_editor, speak
    from parlando.speaking import Speaker
    from parlando.speech import Speech, Voice

    __version__: str

_HOMES = {
    "load": "registry",
    "speak": "registry",
    "convert": "registry",
    "load_converter": "registry",
    "edit": "registry",
    "load_editor": "registry",
    "Conversion": "converting",
    "VoiceConverter": "converting",
    "Edit": "editing",
    "SpeechEditor": "editing",
    "Speaker": "speaking",
    "Speech": "speech",
    "Voice": "speech",
    "Waveform": "audio.waveform",
    "SpeakOptions": "contracts",
    "ParlandoError": "contracts",
    "ConfigError": "contracts",
    "AudioError": "contracts",
    "TextError": "contracts",
    "PromptError": "contracts",
    "CheckpointError": "contracts",
}

__all__ = [
    "AudioError",
    "CheckpointError",
    "ConfigError",
    "Conversion",
    "Edit",
    "ParlandoError",
    "PromptError",
    "SpeakOptions",
    "Speaker",
    "Speech",
    "SpeechEditor",
    "TextError",
    "Voice",
    "VoiceConverter",
    "Waveform",
    "convert",
    "edit",
    "load",
    "load_converter",
    "load_editor",
    "speak",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("parlando")
    if name not in _HOMES:
        raise AttributeError(f"module 'parlando' has no attribute {name!r}")
    return getattr(import_module(f"parlando.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
