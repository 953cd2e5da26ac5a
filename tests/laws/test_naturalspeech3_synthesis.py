"""Speaking with NaturalSpeech 3: counts, batches, prompts, durations, guidance."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sines import babble
from tinyfactorized import tiny_synthesizer
from tinyvalle import EvenReader

from parlando.contracts import ConfigError, PromptError, SpeakOptions, TextError
from parlando.evaluation.cost import counted_calls
from parlando.generative.masking import MaskedSampling, network_evaluations
from parlando.systems.naturalspeech3.sampling import Settings
from parlando.text.vocabulary import is_pause

TEXT = ["h", "ə", "l", "ˈoʊ", ",", "w", "ˈɜː", "l", "d"]
LONG = [*TEXT, " "] * 3
SWITCHES = [
    {},
    {"plain": True},
    {"duration_objective": "regression"},
    {"duration_reads_prosody": False},
    {"duration_reads_prompt": False},
    {"guidance": 0.0},
]


@pytest.fixture(scope="module")
def synthesizer():
    return tiny_synthesizer()


@pytest.fixture(scope="module")
def voice(synthesizer):
    return synthesizer.encode_prompt(torch.from_numpy(babble(2.0)))


@pytest.fixture(scope="module")
def others(synthesizer):
    """Prompts of other lengths and sounds."""
    sounds = babble(1.3)[::-1].copy(), 0.3 * babble(1.7), -babble(2.4)
    return [synthesizer.encode_prompt(torch.from_numpy(sound)) for sound in sounds]


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def count(synthesizer, voice, **options):
    with counted_calls(synthesizer.model.time) as calls:
        synthesizer.render(TEXT, voice, SpeakOptions(**options), seeded(1))
    return calls.count


def test_sixty_evaluations_and_fifteen_with_one_step(synthesizer, voice):
    assert count(synthesizer, voice) == 60
    assert count(synthesizer, voice, steps=1) == 15
    assert count(synthesizer, voice, duration_steps=1) == 57
    # Without guidance twice the steps are 60 again, but for the durations.
    assert count(synthesizer, voice, guidance=0.0, steps=8, duration_steps=4) == 60
    assert count(synthesizer, voice, steps=3) == (
        network_evaluations(3) + network_evaluations(3, guided=False)
        + network_evaluations(3, levels=6)
    )  # fmt: skip


@pytest.mark.parametrize("differences", SWITCHES)
def test_symbols_durations_pitch_and_samples_agree(differences):
    synthesizer = tiny_synthesizer(**differences)
    voice = synthesizer.encode_prompt(torch.from_numpy(babble(1.5)))
    made = synthesizer.render(TEXT, voice, SpeakOptions(steps=2), seeded(1))
    assert made.symbols == (" ", *TEXT, " ")
    assert sum(made.durations_frames) * 200 == len(made.samples) == 200 * len(made.f0_hz)
    assert np.isfinite(made.samples).all()
    for symbol, frames in zip(made.symbols, made.durations_frames, strict=True):
        assert (0 if is_pause(symbol) else 1) <= frames <= 15


@pytest.mark.parametrize("differences", SWITCHES)
def test_pieces_of_a_batch_are_what_they_would_be_alone(differences):
    synthesizer = tiny_synthesizer(**differences)
    voice = synthesizer.encode_prompt(torch.from_numpy(babble(1.5)))
    texts, options = [TEXT, LONG, TEXT[:1]], SpeakOptions(steps=3)
    together = synthesizer.render_batch(texts, voice, options, [seeded(n) for n in range(3)])
    for number, (text, made) in enumerate(zip(texts, together, strict=True)):
        (alone,) = synthesizer.render_batch([text], voice, options, [seeded(number)])
        assert made.durations_frames == alone.durations_frames
        np.testing.assert_allclose(made.samples, alone.samples, atol=1e-4)


def test_the_same_generator_gives_the_same_speech_and_another_another(synthesizer, voice):
    first, again, other = (
        synthesizer.render(TEXT, voice, SpeakOptions(), seeded(seed)).samples for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first[: len(other)], other[: len(first)])


def test_without_temperature_durations_are_the_likeliest(synthesizer, voice):
    options = SpeakOptions(steps=1)
    made = [synthesizer.render(TEXT, voice, options, seeded(seed)).samples for seed in (1, 2)]
    assert np.array_equal(*made)


def test_guidance_and_its_rescale_move_the_codes(synthesizer, voice):
    made = [
        synthesizer.render(TEXT, voice, replace(SpeakOptions(steps=1), **given), seeded(1)).samples
        for given in (
            {"guidance": 0.0},
            {"guidance": 1.0},
            {"guidance": 1.0, "guidance_rescale": 0.0},
        )
    ]
    shortest = min(map(len, made))
    assert not np.array_equal(made[0][:shortest], made[1][:shortest])
    # One step takes the likeliest codes, whose order a rescale keeps.
    assert np.array_equal(made[1], made[2])
    hot = [
        synthesizer.render(TEXT, voice, SpeakOptions(guidance_rescale=phi), seeded(1)).samples
        for phi in (0.0, 1.0)
    ]
    shortest = min(map(len, hot))
    assert not np.array_equal(hot[0][:shortest], hot[1][:shortest])


def test_prompts_are_read_and_never_changed(synthesizer, voice, others):
    before = [tensor.clone() for tensor in vars(voice.content).values()]
    made = synthesizer.render(TEXT, voice, SpeakOptions(), seeded(1)).samples
    assert all(map(torch.equal, before, vars(voice.content).values()))
    other = synthesizer.render(TEXT, others[0], SpeakOptions(), seeded(1)).samples
    assert not np.array_equal(made[: len(other)], other[: len(made)])


def test_each_process_reads_its_own_prompt(synthesizer, voice, others):
    """Prompts of different lengths; only what an attribute decides becomes different."""
    options = SpeakOptions(steps=2)
    plain = synthesizer.render(TEXT, voice, options, seeded(1))

    def speak(**given):
        return synthesizer.render(TEXT, synthesizer.blend(voice, **given), options, seeded(1))

    timbre = speak(timbre=others[0])
    assert timbre.durations_frames == plain.durations_frames
    assert not np.allclose(timbre.samples, plain.samples)
    mixed = speak(duration=others[1], prosody=others[2], timbre=others[0])
    assert sum(mixed.durations_frames) * 200 == len(mixed.samples)
    same = speak(duration=voice, prosody=voice, timbre=voice)
    assert np.array_equal(same.samples, plain.samples)
    blended = synthesizer.blend(voice, prosody=others[2], timbre=others[0])
    reads = [synthesizer.reads(blended, level) for level in range(6)]
    expected = [others[2].prosody] + 2 * [voice.content] + 3 * [others[0].timbre]
    assert all(a is b for a, b in zip(reads, expected, strict=True))
    assert blended.duration is voice.duration


def test_a_target_much_longer_than_its_prompt(synthesizer, others):
    made = synthesizer.render(LONG * 6, others[0], SpeakOptions(steps=1), seeded(0))
    assert sum(made.durations_frames) == len(made.samples) // 200
    assert len(made.samples) > 4 * 1.3 * 16_000


def test_speed_and_length_are_kept(synthesizer, voice):
    plain, quick = (
        sum(
            synthesizer.render(
                LONG, voice, SpeakOptions(steps=1, speed=speed), seeded(1)
            ).durations_frames
        )
        for speed in (1.0, 2.0)
    )
    assert quick < 0.75 * plain
    for seconds in (0.4, 2.0, 9.0):
        options = SpeakOptions(steps=1, duration_seconds=seconds)
        made = synthesizer.render(TEXT, voice, options, seeded(1))
        assert len(made.samples) == round(seconds * 80) * 200


def test_what_an_edit_keeps_stays(synthesizer, voice):
    targets = [[" ", *TEXT, " "], [" ", *TEXT[:4], " "]]
    sampler = synthesizer.sampler(targets, SpeakOptions(), [seeded(0), seeded(1)])
    keep = torch.zeros_like(sampler.mask)
    keep[:, :3] = True
    generator = seeded(5)
    phones = torch.randint(15, (2, 2, 11), generator=generator)
    prosody = sampler.draw_prosody(voice.prosody, phones, keep)
    assert torch.equal(prosody[keep], phones[:, 0][keep])
    # Longer than any class: kept all the same.
    phones[:, 1, 2] = 40
    least, longest = synthesizer.limits(targets)
    durations = sampler.draw_durations(voice.duration, prosody, least, longest, phones[:, 1], keep)
    assert torch.equal(durations[keep], phones[:, 1][keep])
    assert not durations[~sampler.mask].any()
    lengths = durations.sum(1)
    mask = torch.arange(int(lengths.max())) < lengths[:, None]
    codes = torch.randint(16, (2, 6, mask.shape[1]), generator=generator)
    decided = mask & (torch.arange(mask.shape[1]) < 17)
    before = codes.clone()
    for level in range(6):
        drawn = sampler.draw_level(level, voice.content, durations, codes, mask, decided)
        assert torch.equal(codes, before)
        assert torch.equal(drawn[decided], codes[:, level][decided])
        assert not drawn[~mask].any()
        codes[:, level] = before[:, level] = drawn


def test_kept_codes_of_all_levels_are_seen(synthesizer, monkeypatch):
    sampler = synthesizer.sampler([[" ", *TEXT, " "]], SpeakOptions(steps=1), [seeded(0)])
    durations = torch.full((1, 11), 3)
    mask = torch.ones(1, 33, dtype=torch.bool)
    decided = torch.arange(33)[None] >= 12
    codes = torch.randint(16, (1, 6, 33), generator=seeded(1))
    network, said = synthesizer.model.frames, []
    logits = network.logits
    monkeypatch.setattr(
        network, "logits", lambda told, level: said.append(logits(told, level)) or said[-1]
    )

    def draw():
        sampler.draw_level(0, None, durations, codes, mask, decided)
        return said[-1]

    plain = draw()
    codes[:, 5, 12:] = (codes[:, 5, 12:] + 7) % 16
    assert not torch.allclose(draw(), plain)
    kept = draw()
    codes[:, 1:, :12] = 0  # not kept and of higher levels: not seen
    assert torch.equal(draw(), kept)


def test_settings_of_the_release_hold_where_a_call_does_not_say():
    own = MaskedSampling(steps=7, top_k=5, temperature=0.9)
    synthesizer = tiny_synthesizer(sampling=own, guidance=2.0, guidance_rescale=0.5)
    assert synthesizer._settings(SpeakOptions()) == Settings(
        sampling=own, duration_steps=7, guidance=2.0, rescale=0.5
    )
    given = SpeakOptions(
        steps=2, duration_steps=3, top_k=4, temperature=0.0, guidance=0.0, guidance_rescale=0.0
    )
    assert synthesizer._settings(given) == Settings(
        sampling=replace(own, steps=2, top_k=4, temperature=0.0),
        duration_steps=3,
        guidance=0.0,
        rescale=0.0,
    )


def test_a_prompt_without_transcript_is_read_by_the_recogniser(synthesizer, voice):
    # Boundaries, three phones and a pause: 26 frames each, two pieces of at most 15.
    assert voice.content.symbols.tolist() == [1, 1, 25, 25, 2, 2, 77, 77, 29, 29, 1, 1]
    longest = synthesizer.model.config.longest_phone_frames
    said = synthesizer.encode_prompt(torch.from_numpy(babble(2.0)), TEXT * 2).content
    assert int(said.durations.sum()) == said.codes.shape[1] == 160
    assert int(said.durations.max()) <= longest
    assert said.timbre.shape == (1, synthesizer.codec.timbre_width)
    with pytest.raises(PromptError, match="does not seem"):
        synthesizer.encode_prompt(torch.from_numpy(babble(1.0)), TEXT * 20)
    with pytest.raises(TextError, match="at least one phone"):
        synthesizer.encode_prompt(torch.from_numpy(babble(2.0)), [" "])


def test_prompts_that_cannot_be_timed_are_refused(synthesizer, monkeypatch):
    monkeypatch.setattr(
        EvenReader, "align", lambda self, waveform, symbols: ([0] * len(symbols), -9.0)
    )
    with pytest.raises(PromptError, match="6 symbols do not fit"):
        synthesizer.encode_prompt(torch.from_numpy(babble(2.0)))


def test_of_a_long_prompt_the_first_part_is_read():
    synthesizer = tiny_synthesizer(longest_prompt_frames=50)
    voice = synthesizer.encode_prompt(torch.from_numpy(babble(3.0)), TEXT * 2).content
    assert int(voice.durations.sum()) == voice.codes.shape[1]
    assert 50 - 15 < voice.codes.shape[1] <= 50
    whole = tiny_synthesizer().encode_prompt(torch.from_numpy(babble(3.0)), TEXT * 2).content
    assert torch.equal(voice.timbre, whole.timbre)


def test_estimated_durations_need_a_model_that_estimates(synthesizer):
    with pytest.raises(ConfigError, match="regression"):
        synthesizer.model.regress_durations(torch.zeros(1, 3, 16))
