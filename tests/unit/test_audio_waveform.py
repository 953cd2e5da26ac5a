import numpy as np
import pytest
import soundfile
from speechlike import padded, speechlike

from parlando.audio import waveform
from parlando.audio.waveform import Waveform, load, prepare_prompt, save
from parlando.contracts import AudioError, PromptError

RATE = 16_000


@pytest.mark.parametrize(
    ("suffix", "rate_hz", "channels", "subtype", "likeness"),
    [
        ("wav", 16_000, 1, "PCM_16", 0.999),
        ("wav", 16_000, 1, "PCM_U8", 0.99),
        ("wav", 8_000, 1, "PCM_16", 0.99),
        ("wav", 96_000, 1, "PCM_24", 0.999),
        ("wav", 44_100, 2, "FLOAT", 0.999),
        ("flac", 22_050, 1, "PCM_16", 0.999),
        ("ogg", 48_000, 2, "VORBIS", 0.99),
        ("opus", 48_000, 1, "OPUS", 0.99),
        ("mp3", 32_000, 1, "MPEG_LAYER_III", 0.99),
    ],
)
def test_any_file_becomes_mono_at_the_rate(tmp_path, suffix, rate_hz, channels, subtype, likeness):
    path = tmp_path / f"x.{suffix}"
    source = speechlike(1.5, rate_hz)
    both = np.stack([source * 1.2, source * 0.8], 1) if channels == 2 else source
    container = {"ogg": "OGG", "opus": "OGG"}.get(suffix)
    soundfile.write(path, both, rate_hz, subtype=subtype, format=container)
    sound = load(path)
    assert sound.rate_hz == RATE
    assert sound.samples.dtype == np.float32
    assert sound.samples.ndim == 1
    assert abs(sound.duration_seconds - 1.5) < 0.08
    expected = speechlike(1.5)
    # Lossy codecs may delay: compare at the best shift.
    length = min(len(expected), len(sound.samples)) - 2000
    score = max(
        np.corrcoef(expected[1000 : 1000 + length], sound.samples[k : k + length])[0, 1]
        for k in range(0, 2000)
        if subtype in ("MPEG_LAYER_III", "OPUS", "VORBIS") or k == 1000
    )
    assert score > likeness


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.wav", None, "no such file"),
        ("folder", "folder", "is a folder"),
        ("empty.wav", b"", "is empty"),
        ("text.wav", b"this is no sound at all" * 20, "cannot be read as sound"),
        ("cut.flac", b"fLaC\x00\x00", "cannot be read as sound"),
    ],
)
def test_what_is_no_sound_is_refused_in_one_line(tmp_path, name, content, message):
    path = tmp_path / name
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(AudioError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_without_samples_or_with_nan_is_refused(tmp_path):
    soundfile.write(tmp_path / "none.wav", np.zeros(0, np.float32), RATE)
    with pytest.raises(AudioError, match="no samples"):
        load(tmp_path / "none.wav")
    broken = speechlike(0.1)
    broken[7] = np.nan
    soundfile.write(tmp_path / "nan.wav", broken, RATE, subtype="FLOAT")
    with pytest.raises(AudioError, match="NaN"):
        load(tmp_path / "nan.wav")


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3", ".WAV"])
def test_saved_sound_reads_back_and_says_that_it_is_synthetic(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    sound = speechlike(1.0)
    save(path, sound, RATE, waveform.synthetic_metadata("naturalspeech2-small", "0.1", 7, "Hello"))
    tags = waveform.read_metadata(path)
    assert tags["title"] == "Hello"
    for part in ("Synthetic", "Parlando 0.1", "naturalspeech2-small", "seed 7"):
        assert part in tags["comment"]
    back = load(path).samples
    assert len(back) == len(sound)
    if suffix.lower() in (".wav", ".flac"):
        assert np.abs(back - sound).max() < 1e-4
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_minutes_of_ogg_are_written_and_loud_samples_clipped(tmp_path):
    save(tmp_path / "long.ogg", np.tile(speechlike(1.0), 130), RATE)
    assert abs(load(tmp_path / "long.ogg").duration_seconds - 130) < 0.1
    save(tmp_path / "loud.wav", 4.0 * speechlike(0.5), RATE)
    assert np.abs(load(tmp_path / "loud.wav").samples).max() <= 1.0


@pytest.mark.parametrize(
    ("name", "samples", "message"),
    [
        ("x.xyz", np.zeros(10), "unknown sound format '.xyz'"),
        ("x", np.zeros(10), "unknown sound format"),
        ("no/folder/x.wav", np.zeros(10), "there is no folder"),
        ("x.wav", np.zeros((2, 10)), "shape"),
        ("x.wav", np.zeros(0), "S > 0"),
        ("x.wav", np.full(10, np.nan), "finite"),
    ],
)
def test_what_cannot_be_written_is_refused_and_leaves_nothing(tmp_path, name, samples, message):
    with pytest.raises(AudioError, match=message):
        save(tmp_path / name, samples, RATE)
    assert list(tmp_path.iterdir()) == []


def test_unknown_metadata_and_folder_targets_are_refused(tmp_path):
    with pytest.raises(AudioError, match="unknown metadata"):
        save(tmp_path / "x.wav", np.zeros(10), RATE, {"mood": "good"})
    (tmp_path / "y.wav").mkdir()
    with pytest.raises(AudioError, match="is a folder"):
        save(tmp_path / "y.wav", np.zeros(10), RATE)
    with pytest.raises(AudioError, match="cannot be read"):
        waveform.read_metadata(tmp_path / "x.wav")


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x.wav"
    save(path, speechlike(0.2), RATE)
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(soundfile.SoundFile, "write", fail)
    with pytest.raises(AudioError, match="disk full"):
        save(path, speechlike(0.3), RATE)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.wav"]


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100])
def test_silence_at_both_ends_is_cut_to_a_margin(rate_hz):
    speech = speechlike(2.0, rate_hz)
    start, stop = waveform.speech_bounds(padded(speech, 0.8, 1.3, rate_hz), rate_hz)
    assert start / rate_hz == pytest.approx(0.7, abs=0.03)
    assert stop / rate_hz == pytest.approx(2.9, abs=0.06)


def test_silence_has_no_speech_and_clicks_are_none():
    assert waveform.speech_bounds(np.zeros(RATE, np.float32), RATE) == (0, 0)
    assert len(waveform.trim_silence(np.zeros(0, np.float32), RATE)) == 0
    sound = padded(speechlike(1.0), 1.0, 1.0)
    sound[3000:3100] += 0.3
    start, _ = waveform.speech_bounds(sound, RATE)
    assert start / RATE == pytest.approx(0.9, abs=0.03)


def test_pauses_between_words_stay_and_gaps_of_stops_are_closed():
    sound = np.concatenate([speechlike(1.0), np.zeros(8000, np.float32), speechlike(1.0)])
    active = waveform.voice_activity(sound, RATE)
    assert active[:95].all()
    assert not active[108:145].any()


def test_the_best_excerpt_is_where_the_speech_is():
    quiet = padded(np.zeros(0, np.float32), 4.0, 0.0)
    sound = np.concatenate([speechlike(1.0), quiet, speechlike(3.0), quiet])
    excerpt = waveform.best_excerpt(sound, RATE, 3.5)
    assert len(excerpt) == 3.5 * RATE
    assert waveform.voice_activity(excerpt, RATE).sum() >= 290
    assert waveform.best_excerpt(sound, RATE, 60.0) is sound


def test_loudness_is_set_over_speech_only():
    for gain in (0.02, 0.5):
        sound = waveform.normalize_loudness(padded(gain * speechlike(2.0), 1.0, 3.0), RATE)
        assert waveform.active_level_db(sound, RATE) == pytest.approx(-23.0, abs=0.2)
    peaky = 0.001 * speechlike(2.0)
    peaky[8000] = 0.5
    assert np.abs(waveform.normalize_loudness(peaky, RATE)).max() <= 0.991
    silence = np.zeros(RATE, np.float32)
    assert waveform.normalize_loudness(silence, RATE) is silence


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros(0, np.float32), "silent"),
        (np.zeros(3 * RATE, np.float32), "silent"),
        (np.full(3 * RATE, 0.3, np.float32), "silent"),
        (speechlike(0.6), "at least 1 s"),
        (padded(speechlike(0.6), 2.0, 2.0), "at least 1 s"),
        (np.clip(20.0 * speechlike(3.0), -1.0, 1.0), "clipped"),
        (0.1 * np.random.default_rng(0).standard_normal(3 * RATE), "no voice"),
        (np.where(np.arange(3 * RATE) == 9, np.nan, speechlike(3.0)), "NaN"),
        (np.where(np.arange(3 * RATE) == 9, np.inf, speechlike(3.0)), "NaN or infinite"),
    ],
)
def test_unusable_prompts_are_refused_in_one_line(samples, message):
    with pytest.raises(PromptError, match=message) as caught:
        prepare_prompt(Waveform(samples, RATE))
    assert "\n" not in str(caught.value)


def test_usable_prompts_are_cut_levelled_and_freed_of_dc():
    sound = padded(speechlike(3.0), 1.0, 1.0) + np.float32(0.1)
    prompt = prepare_prompt(Waveform(sound, RATE))
    assert prompt.dtype == np.float32
    assert len(prompt) / RATE == pytest.approx(3.2, abs=0.1)
    assert abs(prompt.mean()) < 2e-3
    assert waveform.active_level_db(prompt, RATE) == pytest.approx(-23.0, abs=0.3)


def test_long_prompts_are_cut_to_thirty_seconds_and_light_clipping_passes():
    long = np.tile(speechlike(1.0), 41)
    assert len(prepare_prompt(Waveform(long, RATE))) == 30 * RATE
    loud = np.clip(speechlike(3.0), -0.32, 0.32)
    assert 0.0 < waveform.clipped_share(loud) < 0.05
    assert len(prepare_prompt(Waveform(loud, RATE))) > 2.5 * RATE


@pytest.mark.parametrize(("rate_hz", "subtype"), [(8_000, "PCM_U8"), (96_000, "PCM_24")])
def test_prompts_of_poor_files_are_usable(tmp_path, rate_hz, subtype):
    sound = np.stack([speechlike(3.0, rate_hz)] * 2, 1)
    soundfile.write(tmp_path / "p.wav", sound, rate_hz, subtype=subtype)
    prompt = prepare_prompt(load(tmp_path / "p.wav"))
    assert waveform.active_level_db(prompt, RATE) == pytest.approx(-23.0, abs=0.3)


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_what_was_read_from_16_bits_is_written_bit_for_bit(tmp_path, suffix):
    every = np.arange(-32768, 32768, dtype=np.int16)
    soundfile.write(tmp_path / "in.wav", every, RATE)
    save(tmp_path / f"out.{suffix}", waveform.load(tmp_path / "in.wav").samples, RATE)
    written, _ = soundfile.read(tmp_path / f"out.{suffix}", dtype="int16")
    assert np.array_equal(written, every)


def test_a_file_keeps_its_own_rate_where_none_is_asked_for(tmp_path):
    save(tmp_path / "sound.wav", speechlike(0.5, 22_050), 22_050)
    sound = waveform.load(tmp_path / "sound.wav", None)
    assert (sound.rate_hz, len(sound.samples)) == (22_050, 11_025)
