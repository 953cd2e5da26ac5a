"""Speaking with VALL-E 2: batches, streams, prompts, candidates, limits."""

import numpy as np
import pytest
import torch
from sines import RATE, babble
from tinyvalle import EvenReader, hearing, tiny_synthesizer

from parlando.audio.seams import limit_peaks
from parlando.contracts import ConfigError, PromptError, SpeakOptions, TextError
from parlando.speaking import Speaker, generator_of
from parlando.speech import Speech, as_voice
from parlando.systems.valle2.streaming import FIRST_CHUNK_FRAMES, LOOKAHEAD_FRAMES, Chunks
from parlando.text.normalize import normalize
from parlando.text.phonemes import phonemize

TEXT = ["h", "ə", "l", "ˈoʊ", " ", "w", "ˈɜː", "l", "d"]
LONG = [*TEXT, " "] * 6
SENTENCE = "Hello my dear world, how are you doing on this long and windy day?"


@pytest.fixture(scope="module")
def synthesizer():
    return tiny_synthesizer()


@pytest.fixture(scope="module")
def voice(synthesizer):
    return synthesizer.encode_prompt(torch.from_numpy(babble(2.0)))


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def test_symbols_durations_pitch_and_samples_agree(synthesizer, voice):
    made = synthesizer.render(TEXT, voice, SpeakOptions(), seeded(1))
    assert sum(made.durations_frames) * 200 == len(made.samples) == 200 * len(made.f0_hz)
    assert made.symbols == (" ", *TEXT, " ")
    assert np.isfinite(made.samples).all()
    assert set(made.notes) == {"cut", "replaced"}


def test_pieces_of_a_batch_are_what_they_would_be_alone(synthesizer, voice):
    texts = [TEXT, LONG, TEXT[:3]]
    options = SpeakOptions(guidance=0.5)
    together = synthesizer.render_batch(texts, voice, options, [seeded(n) for n in range(3)])
    for number, (text, made) in enumerate(zip(texts, together, strict=True)):
        (alone,) = synthesizer.render_batch([text], voice, options, [seeded(number)])
        assert made.durations_frames == alone.durations_frames
        assert made.notes == alone.notes
        np.testing.assert_allclose(made.samples, alone.samples, atol=1e-4)


def test_the_same_generator_gives_the_same_speech_and_another_another(synthesizer, voice):
    first, again, other = (
        synthesizer.render(TEXT, voice, SpeakOptions(), seeded(seed)).samples for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first[: len(other)], other[: len(first)])


def test_guidance_moves_the_codes(synthesizer, voice):
    plain, guided = (
        synthesizer.render(TEXT, voice, SpeakOptions(guidance=strength, top_p=0.0), seeded(1))
        for strength in (0.0, 3.0)
    )
    assert not np.array_equal(plain.samples[:8000], guided.samples[:8000])


def test_the_guidance_of_the_model_holds_where_a_call_does_not_say(synthesizer, voice):
    guided = tiny_synthesizer(guidance=3.0)

    def samples(system, **options):
        return system.render(TEXT, voice, SpeakOptions(top_p=0.0, **options), seeded(1)).samples

    assert np.array_equal(samples(guided), samples(synthesizer, guidance=3.0))
    assert np.array_equal(samples(guided, guidance=0.0), samples(synthesizer))


def test_greedy_sampling_needs_no_generator(synthesizer, voice):
    options = SpeakOptions(top_p=0.0, repetition_window=0)
    made = [synthesizer.render(TEXT, voice, options, seeded(seed)).samples for seed in (1, 2)]
    assert np.array_equal(*made)


def test_chunks_joined_have_the_codes_of_the_whole(synthesizer, voice, monkeypatch):
    first_levels, timed = [], synthesizer._timed

    def watched(sound):
        first_levels.append(sound.first.codes)
        return timed(sound)

    monkeypatch.setattr(synthesizer, "_timed", watched)
    options = SpeakOptions(chunk_seconds=0.5)
    whole = synthesizer.render(LONG, voice, options, seeded(4))
    parts = list(synthesizer.stream(LONG, voice, options, seeded(4)))
    assert torch.equal(*first_levels)
    frames = [len(part.samples) // 200 for part in parts]
    assert len(parts) >= 4
    assert frames[:-2] == [FIRST_CHUNK_FRAMES] + [40] * (len(parts) - 3)
    assert LOOKAHEAD_FRAMES <= frames[-2] + 1 < 40 + LOOKAHEAD_FRAMES
    assert frames[-1] == 1
    joined = np.concatenate([part.samples for part in parts])
    assert len(joined) == len(whole.samples)
    assert [bool(part.symbols) for part in parts] == [False] * (len(parts) - 1) + [True]
    assert parts[-1].durations_frames == whole.durations_frames
    assert parts[-1].notes == whole.notes


def test_one_chunk_for_the_whole_is_the_whole(voice):
    synthesizer = tiny_synthesizer()
    # A model that ends as soon as it may: what it says is shorter than the first chunk.
    table = synthesizer.model.autoregressive.codes.weight
    with torch.no_grad():
        table[16] = 50.0 * torch.nn.functional.normalize(table[16], dim=0)
    options = SpeakOptions(chunk_seconds=0.5)
    for seed in range(5):
        whole = synthesizer.render(TEXT[:2], voice, options, seeded(seed))
        parts = list(synthesizer.stream(TEXT[:2], voice, options, seeded(seed)))
        if len(whole.samples) < 200 * (FIRST_CHUNK_FRAMES + LOOKAHEAD_FRAMES):
            break
    assert len(parts) == 2
    joined = np.concatenate([part.samples for part in parts])
    np.testing.assert_allclose(joined, whole.samples, atol=1e-5)


def test_the_first_chunk_comes_before_the_last_code_is_drawn(synthesizer, voice, monkeypatch):
    steps = []
    advance = synthesizer.model.autoregressive.advance
    monkeypatch.setattr(
        synthesizer.model.autoregressive,
        "advance",
        lambda codes, going: steps.append(1) or advance(codes, going),
    )
    stream = synthesizer.stream(LONG, voice, SpeakOptions(chunk_seconds=0.5), seeded(4))
    next(stream)
    assert len(steps) <= (FIRST_CHUNK_FRAMES + LOOKAHEAD_FRAMES) // 2
    early = len(steps)
    list(stream)
    assert len(steps) > early


def test_only_a_frame_waits_until_the_phones_are_placed(voice, monkeypatch):
    synthesizer, placed = tiny_synthesizer(), []
    align = EvenReader.align
    monkeypatch.setattr(
        EvenReader, "align", lambda *given: placed.append(len(given[1])) or align(*given)
    )
    heard = 0
    for part in synthesizer.stream(LONG, voice, SpeakOptions(chunk_seconds=0.5), seeded(4)):
        assert bool(part.symbols) is bool(placed)
        heard += len(part.samples)
    assert placed == [heard]
    assert len(part.samples) == 200


def test_a_speaker_streams_what_it_speaks():
    speaker = Speaker(tiny_synthesizer())
    given = {"voice": (babble(2.0), RATE), "seed": 3, "chunk_seconds": 0.5}
    parts = list(speaker.stream(SENTENCE, **given))
    whole = speaker.speak(SENTENCE, **given)
    assert len(parts) > 2
    assert np.array_equal(np.concatenate([part.samples for part in parts]), whole.samples)
    assert sum(whole.durations_frames) * whole.hop_samples == len(whole.samples)
    assert len(whole.f0_hz) == sum(whole.durations_frames)
    assert whole.text == normalize(SENTENCE)
    assert isinstance(whole, Speech)
    assert whole.notes["replaced"] >= 1.0


def test_chunks_follow_each_other_without_a_click(synthesizer, voice):
    """Where two decodings differ by a constant, no step is above its share of a frame's samples."""
    decoded = []

    def decode(codes):
        decoded.append(codes.shape[1])
        return torch.full((codes.shape[1] * 200,), float(len(decoded)))

    heard = synthesizer._heard(voice, False)
    ids, mask = synthesizer._texts([TEXT], heard)
    chunks = Chunks(synthesizer.model.nonautoregressive, decode, 200, ids, mask, heard.codes)
    chunks.add(torch.arange(90) % 16)
    sound = torch.cat([chunks.take(count) for count in (24, 40, 26)])
    assert len(sound) == 90 * 200
    assert (float(sound[0]), float(sound[-1])) == (1.0, 3.0)
    assert float(sound.diff().abs().max()) == pytest.approx(1.0 / 199.0, rel=1e-3)
    assert (sound[1:] >= sound[:-1]).all()


def test_a_speaker_fades_the_ends_of_a_stream_and_no_seam():
    synthesizer, prompt = tiny_synthesizer(), as_voice((babble(2.0), RATE))
    parts = list(Speaker(synthesizer).stream(SENTENCE, prompt, seed=3, chunk_seconds=0.3))
    raw = synthesizer.stream(
        phonemize(normalize(SENTENCE)),
        synthesizer.encode_prompt(torch.from_numpy(prompt.samples)),
        SpeakOptions(chunk_seconds=0.3),
        generator_of((3, 0)),
    )
    spoken = np.concatenate([part.samples for part in parts])
    expected = limit_peaks(np.concatenate([part.samples for part in raw]))
    assert len(parts) > 3
    count = len(expected)
    assert np.array_equal(spoken[80 : count - 80], expected[80:-80])
    assert spoken[0] == 0.0
    assert abs(spoken[count - 1]) < 1e-3


@pytest.mark.parametrize(
    ("option", "value"),
    [("steps", 8), ("speed", 1.2), ("solver", "dpm"), ("duration_seconds", 3.0)],
)
def test_options_of_other_systems_are_refused(option, value):
    speaker = Speaker(tiny_synthesizer())
    with pytest.raises(ConfigError, match=f"tiny has no option {option}; it has best_of"):
        speaker.stream("Hello.", (babble(2.0), RATE), **{option: value})


def test_the_best_is_alike_enough_first_and_intelligible_second(voice, monkeypatch):
    heard, placed = [], []
    align = EvenReader.align
    monkeypatch.setattr(
        EvenReader, "align", lambda *given: placed.append(len(given[1])) or align(*given)
    )

    def scorer(samples, symbols, prompt):
        assert len(prompt) == 2 * RATE
        heard.append(samples)
        return [(0.2, 1.0), (0.9, 0.5), (0.31, 0.7), (0.5, 0.7)][len(heard) - 1]

    synthesizer = tiny_synthesizer(scorer)
    best = synthesizer.render(TEXT, voice, SpeakOptions(best_of=4), seeded(5))
    assert len(heard) == 4
    assert np.array_equal(best.samples, heard[2])
    assert placed == [len(best.samples)]  # the others need no symbols and no pitch
    single = synthesizer.render(TEXT, voice, SpeakOptions(), seeded(5))
    assert len(heard) == 4
    np.testing.assert_allclose(single.samples, heard[0], atol=1e-4)


def test_best_of_several_needs_judges_and_whole_pieces(synthesizer, voice):
    with pytest.raises(ConfigError, match=r"without judges.*pip install 'parlando\[evaluate\]'"):
        synthesizer.render(TEXT, voice, SpeakOptions(best_of=2), seeded(0))
    with pytest.raises(ConfigError, match="whole pieces"):
        next(synthesizer.stream(TEXT, voice, SpeakOptions(best_of=2, chunk_seconds=1), seeded(0)))


def test_a_prompt_without_transcript_is_read_by_the_recogniser(synthesizer, monkeypatch):
    voice = synthesizer.encode_prompt(torch.from_numpy(babble(2.0)))
    assert voice.symbols == (" ", "h", ",", "ə", "l", " ")
    assert voice.codes.shape == (4, 160)
    text = ["w", "ˈɜː", "l", "d"] * 4
    monkeypatch.setattr(EvenReader, "recognize", hearing(text))
    said = synthesizer.encode_prompt(torch.from_numpy(babble(2.0)), text)
    assert said.symbols == (" ", *text, " ")


def test_a_transcript_that_does_not_match_is_refused(synthesizer):
    with pytest.raises(PromptError, match="does not seem to be what the prompt says"):
        synthesizer.encode_prompt(torch.from_numpy(babble(4.0)), ["w"])
    with pytest.raises(PromptError, match="does not seem"):
        synthesizer.encode_prompt(torch.from_numpy(babble(1.0)), TEXT * 20)
    # As long as what is said, but another text.
    with pytest.raises(PromptError, match="100% of the phones are others"):
        synthesizer.encode_prompt(torch.from_numpy(babble(2.0)), ["w", "ˈɜː", "d", "z"] * 4)
    with pytest.raises(TextError, match="at least one phone"):
        synthesizer.encode_prompt(torch.from_numpy(babble(2.0)), [" "])


def test_a_prompt_in_which_no_phone_is_heard_is_refused(monkeypatch, synthesizer):
    monkeypatch.setattr(EvenReader, "recognize", lambda self, waveform: ["sil"])
    with pytest.raises(PromptError, match="no phone is heard"):
        synthesizer.encode_prompt(torch.from_numpy(babble(2.0)))


@pytest.mark.parametrize("group", [1, 2, 4, 8])
def test_a_long_prompt_is_cut_between_symbols_and_to_whole_groups(group, monkeypatch):
    """Of 20 symbols of 12 frames eight fit: the first, or the last before the pause at the end."""
    monkeypatch.setattr(EvenReader, "recognize", hearing(TEXT * 2))
    synthesizer = tiny_synthesizer(group=group, longest_prompt_frames=101)
    voice = synthesizer.encode_prompt(torch.from_numpy(babble(3.0)), TEXT * 2)
    assert voice.durations_frames == (12,) * 20
    for continuation, first in ((False, 0), (True, 11)):
        heard = synthesizer._heard(voice, continuation)
        assert heard.symbols == voice.symbols[first : first + 8]
        begin = 12 * first + 96 % group
        assert torch.equal(heard.codes, voice.codes[:, begin : 12 * (first + 8)])
        options = SpeakOptions(continuation=continuation)
        made = synthesizer.render(TEXT[:3], voice, options, seeded(0))
        assert 2 * 3 <= sum(made.durations_frames) <= 20 * 3 + 80


def test_a_continuation_goes_on_in_the_sentence(synthesizer):
    """The pause at the end is left out, symbols and frames."""
    said = [*TEXT, ",", " "]
    voice = synthesizer.encode_prompt(torch.from_numpy(babble(2.1)), said)
    assert voice.durations_frames == (14,) * 12
    for continuation, count in ((False, 12), (True, 10)):
        heard = synthesizer._heard(voice, continuation)
        assert heard.symbols == (" ", *said)[:count]
        assert torch.equal(heard.codes, voice.codes[:, : 14 * count])
        ids, mask = synthesizer._texts([[" ", "h", "ə", " "]], heard)
        assert ids.shape == (1, count + 4)
        assert mask.all()


def test_a_continuation_is_drawn_from_the_end_of_the_prompt(monkeypatch):
    monkeypatch.setattr(EvenReader, "recognize", hearing(TEXT * 2))
    synthesizer = tiny_synthesizer(longest_prompt_frames=101)
    voice = synthesizer.encode_prompt(torch.from_numpy(babble(3.0)), TEXT * 2)
    prompts = []
    start = synthesizer.model.autoregressive.start
    monkeypatch.setattr(
        synthesizer.model.autoregressive,
        "start",
        lambda ids, mask, given: prompts.append(given[0]) or start(ids, mask, given),
    )
    options = SpeakOptions(continuation=True, chunk_seconds=0.5)
    synthesizer.render(TEXT[:3], voice, options, seeded(0))
    list(synthesizer.stream(TEXT[:3], voice, options, seeded(0)))
    assert len(prompts) == 2
    for given in prompts:
        assert torch.equal(given, voice.codes[0, 132:228])


@pytest.mark.parametrize(
    ("durations", "continuation", "where"),
    [((200, 20, 10, 10), False, "first 1.3 s"), ((10, 10, 200, 20), True, "last 1.3 s")],
)
def test_a_part_of_a_prompt_without_a_phone_is_refused(durations, continuation, where, monkeypatch):
    synthesizer = tiny_synthesizer(longest_prompt_frames=101)
    monkeypatch.setattr(EvenReader, "recognize", lambda self, waveform: ["h", "ə"])
    monkeypatch.setattr(EvenReader, "align", lambda *given: (list(durations), -1.0))
    voice = synthesizer.encode_prompt(torch.from_numpy(babble(3.0)))
    with pytest.raises(PromptError, match=f"no phone is heard in the {where} of the prompt"):
        synthesizer.render(TEXT, voice, SpeakOptions(continuation=continuation), seeded(0))


def test_a_prompt_of_more_phones_than_frames_is_shared_out(synthesizer, monkeypatch):
    monkeypatch.setattr(EvenReader, "align", lambda self, waveform, symbols: ([0] * 6, -np.inf))
    voice = synthesizer.encode_prompt(torch.from_numpy(babble(2.0)))
    assert sum(voice.durations_frames) == 160
    assert set(voice.durations_frames) == {26, 27}


def test_a_piece_that_does_not_fit_beside_its_prompt_is_refused():
    synthesizer = tiny_synthesizer(longest_frames=180, longest_prompt_frames=160)
    voice = synthesizer.encode_prompt(torch.from_numpy(babble(2.0)))
    with pytest.raises(TextError, match="48 phones is too long beside a prompt of 160 frames"):
        synthesizer.render(LONG, voice, SpeakOptions(), seeded(0))


@pytest.mark.parametrize("eager", [True, False])
@pytest.mark.parametrize("text", [TEXT, ["ə"]])
def test_nothing_is_empty_or_endless(eager, text, voice):
    """Nor where a group is longer than the shortest utterance."""
    synthesizer = tiny_synthesizer(group=8)
    network = synthesizer.model.autoregressive
    logits = network._logits
    strength = 1e4 if eager else -1e4

    def biased(states):
        found = logits(states)
        found[..., network.end] += strength
        return found

    network._logits = biased
    made = synthesizer.render(text, voice, SpeakOptions(), seeded(0))
    frames, phones = len(made.samples) // 200, sum(symbol != " " for symbol in text)
    assert frames == (2 * phones if eager else 20 * phones + 80)
    assert made.notes["cut"] == (0.0 if eager else 1.0)


def test_fewer_frames_than_phones_are_shared_out(synthesizer, voice, monkeypatch):
    monkeypatch.setattr(
        EvenReader, "align", lambda self, waveform, symbols: ([0] * len(symbols), -9)
    )
    made = synthesizer.render(TEXT, voice, SpeakOptions(), seeded(0))
    assert sum(made.durations_frames) * 200 == len(made.samples)


def test_temperature_zero_takes_the_likeliest_codes(synthesizer, voice):
    greedy = SpeakOptions(top_p=0.0, repetition_window=0)
    cold = SpeakOptions(temperature=0.0, top_p=1.0, repetition_window=0)
    made = [synthesizer.render(TEXT, voice, each, seeded(3)).samples for each in (greedy, cold)]
    assert np.array_equal(*made)
