"""What generated files say about themselves."""

import pytest
from sines import RATE, babble

from parlando.audio.waveform import read_metadata, save
from parlando.contracts import AudioError
from parlando.safety.provenance import Provenance, read, wav_bytes, write

MADE = Provenance(system="a system, with comma", version="1.2.3", seed=2**62)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "WAV"])
def test_written_provenance_is_read_back(tmp_path, suffix):
    path = tmp_path / f"speech.{suffix}"
    write(path, babble(0.5), RATE, MADE)
    assert read(path) == MADE


def test_title_is_the_beginning_of_the_text_on_one_line(tmp_path):
    write(tmp_path / "long.wav", babble(0.5), RATE, MADE, "word\n" * 100)
    title = read_metadata(tmp_path / "long.wav")["title"]
    assert len(title) <= 120
    assert title.startswith("word word ")
    assert title.endswith("word…")


def test_recordings_have_no_provenance(tmp_path):
    save(tmp_path / "plain.wav", babble(0.5), RATE)
    save(tmp_path / "said.wav", babble(0.5), RATE, {"comment": "Synthetic speech, I think"})
    assert read(tmp_path / "plain.wav") is None
    assert read(tmp_path / "said.wav") is None


def test_what_is_no_sound_is_an_error(tmp_path):
    (tmp_path / "text.wav").write_text("no sound")
    with pytest.raises(AudioError):
        read(tmp_path / "text.wav")


def test_bytes_are_those_of_the_file(tmp_path):
    write(tmp_path / "speech.wav", babble(0.5), RATE, MADE)
    assert wav_bytes(babble(0.5), RATE, MADE) == (tmp_path / "speech.wav").read_bytes()
