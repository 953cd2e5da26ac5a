"""Speaking with NaturalSpeech 3: counts, batches, prompts, durations, guidance."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sines import babble
from tinyfactorized import tiny_synthesizer
from tinyvalle import EvenReader, hearing

from parlando.codecs.codes import fits
from parlando.codecs.facodec import config as facodec
from parlando.codecs.facodec.model import build_facodec
from parlando.contracts import Blender, ConfigError, PromptError, Revision, SpeakOptions, TextError
from parlando.curriculum import builders, trainable
from parlando.evaluation.cost import counted_calls
from parlando.generative.masking import MaskedSampling, network_evaluations
from parlando.recipes import SECTIONS, read_recipe
from parlando.registry import load_codec
from parlando.speaking import Speaker
from parlando.systems.naturalspeech3.config import paper, soundstorm
from parlando.systems.naturalspeech3.editing import NaturalSpeech3Editor
from parlando.systems.naturalspeech3.model import NaturalSpeech3
from parlando.systems.naturalspeech3.sampling import Sampler, Settings
from parlando.systems.naturalspeech3.synthesis import NaturalSpeech3Synthesizer
from parlando.systems.valle2.config import small as small_valle2
from parlando.text.vocabulary import SYMBOLS, is_pause

RECIPES = Path(__file__).parents[2] / "recipes"
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


@pytest.fixture
def said(synthesizer, monkeypatch):
    """What the network for frames says, call by call."""
    network, told = synthesizer.model.frames, []
    logits = network.logits
    monkeypatch.setattr(
        network, "logits", lambda states, level: told.append(logits(states, level)) or told[-1]
    )
    return told


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def coded(synthesizer, voice, seed=1, **options):
    """Codes of frames ``(6, 33)`` for durations and lower levels that are given: all else equal."""
    symbols = [" ", *TEXT, " "]
    sampler = synthesizer.sampler([symbols], SpeakOptions(**options), [seeded(seed)])
    durations = torch.full((1, len(symbols)), 3)
    mask = torch.ones(1, 33, dtype=torch.bool)
    codes = torch.zeros(1, 6, 33, dtype=torch.int64)
    reads = [synthesizer.reads(voice, level) for level in range(6)]
    drawn = [
        sampler.draw_level(level, read, durations, codes, mask) for level, read in enumerate(reads)
    ]
    return torch.cat(drawn)


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
    first, again = (
        synthesizer.render(TEXT, voice, SpeakOptions(), seeded(1)).samples for _ in range(2)
    )
    assert np.array_equal(first, again)
    codes = [coded(synthesizer, voice, seed) for seed in (1, 1, 2)]
    assert torch.equal(codes[0], codes[1])
    assert (codes[0] != codes[2]).float().mean() > 0.2


def test_without_temperature_durations_are_the_likeliest(synthesizer, voice):
    options = SpeakOptions(steps=1)
    made = [synthesizer.render(TEXT, voice, options, seeded(seed)).samples for seed in (1, 2)]
    assert np.array_equal(*made)


def test_guidance_and_its_rescale_move_the_codes(synthesizer, voice):
    plain, guided, uneven = (
        coded(synthesizer, voice, steps=1, **given)
        for given in (
            {"guidance": 0.0},
            {"guidance": 1.0},
            {"guidance": 1.0, "guidance_rescale": 0.0},
        )
    )
    assert not torch.equal(plain, guided)
    # One step takes the likeliest codes, whose order a rescale keeps.
    assert torch.equal(guided, uneven)
    hot = [coded(synthesizer, voice, guidance_rescale=phi) for phi in (0.0, 1.0)]
    assert not torch.equal(*hot)


def test_prompts_are_read_and_never_changed(synthesizer, voice, others, said):
    before = [tensor.clone() for tensor in vars(voice.content).values()]
    for prompt in (voice, others[0]):
        coded(synthesizer, prompt, steps=1, guidance=0.0)
    assert all(map(torch.equal, before, vars(voice.content).values()))
    assert len(said) == 12
    for level in range(6):
        assert not torch.allclose(said[level], said[6 + level], atol=1e-3), f"level {level}"


def _noting(draw, name, read):
    def noted(sampler, voice, *given):
        read[name] = voice
        return draw(sampler, voice, *given)

    return noted


def test_each_process_reads_its_own_prompt(synthesizer, voice, others, monkeypatch):
    """Prompts of different lengths; only what an attribute decides becomes different."""
    options = SpeakOptions(steps=2)
    plain = synthesizer.render(TEXT, voice, options, seeded(1))

    def speak(**given):
        return synthesizer.render(TEXT, synthesizer.blend(voice, **given), options, seeded(1))

    timbre = speak(timbre=others[0])
    assert timbre.durations_frames == plain.durations_frames
    assert not np.allclose(timbre.samples, plain.samples)
    read = {}
    for name in ("draw_prosody", "draw_durations"):
        monkeypatch.setattr(Sampler, name, _noting(getattr(Sampler, name), name, read))
    mixed = speak(duration=others[1], prosody=others[2], timbre=others[0])
    assert read["draw_prosody"] is others[2].prosody
    assert read["draw_durations"] is others[1].duration
    assert sum(mixed.durations_frames) * 200 == len(mixed.samples)
    same = speak(duration=voice, prosody=voice, timbre=voice)
    assert np.array_equal(same.samples, plain.samples)
    blended = synthesizer.blend(voice, prosody=others[2], timbre=others[0])
    reads = [synthesizer.reads(blended, level) for level in range(6)]
    expected = [others[2].prosody] + 2 * [voice.content] + 3 * [others[0].timbre]
    assert all(a is b for a, b in zip(reads, expected, strict=True))
    assert blended.duration is voice.duration


@pytest.mark.parametrize(
    ("switch", "prosody_is_read", "prompt_is_read"),
    [
        ({}, True, True),
        ({"duration_reads_prosody": False}, False, True),
        ({"duration_reads_prompt": False}, True, False),
    ],
)
def test_durations_read_what_the_switches_leave_them(switch, prosody_is_read, prompt_is_read):
    synthesizer = tiny_synthesizer(**switch)
    voice, other = (
        synthesizer.encode_prompt(torch.from_numpy(babble(seconds))) for seconds in (2.0, 1.3)
    )
    network, told = synthesizer.model.phones, []
    logits = network.logits
    network.logits = lambda states, task: told.append(logits(states, task)) or told[-1]
    symbols = [" ", *TEXT, " "]

    def first_logits(prompt, prosody):
        told.clear()
        sampler = synthesizer.sampler([symbols], SpeakOptions(steps=1), [seeded(1)])
        drawn = torch.full((1, len(symbols)), prosody)
        sampler.draw_durations(prompt.duration, drawn, *synthesizer.limits([symbols]))
        return told[0]

    plain = first_logits(voice, 3)
    assert torch.equal(first_logits(voice, 3), plain)
    assert torch.equal(first_logits(voice, 7), plain) != prosody_is_read
    assert torch.equal(first_logits(other, 3), plain) != prompt_is_read


def test_over_plain_codes_only_durations_may_have_a_prompt_of_their_own(synthesizer):
    assert synthesizer.attributes == {"duration", "prosody", "timbre"}
    plain = tiny_synthesizer(plain=True)
    assert isinstance(plain, Blender)
    assert plain.attributes == {"duration"}


def test_texts_of_any_length_with_prompts_of_any_length(synthesizer):
    """Through the speaker: a second of one, the longest of another, many pieces."""
    text = "Seven ships sail away, slowly and far from the shore. " * 12
    voice, short, long = ((babble(seconds), 16_000) for seconds in (3.0, 1.7, 30.0))
    speech = Speaker(synthesizer).speak(
        text, voice, seed=0, steps=1, prosody_from=long, timbre_from=short, duration_from=short
    )
    assert speech.duration_seconds > 20.0
    assert sum(speech.durations_frames) * 200 == len(speech.samples)


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


def editing(synthesizer, keep, texts=(TEXT,), **options):
    """A sampler that keeps the sound of the first ``keep`` symbols, or of those ``keep`` marks."""
    targets = [[" ", *text, " "] for text in texts]
    place = torch.arange(max(map(len, targets)))
    kept = (place < keep if isinstance(keep, int) else keep).expand(len(targets), -1)
    generators = [seeded(number) for number in range(len(targets))]
    return targets, synthesizer.sampler(targets, SpeakOptions(**options), generators, kept)


def test_what_an_edit_keeps_stays(synthesizer, voice):
    targets, sampler = editing(synthesizer, 3, [TEXT, TEXT[:4]])
    keep = sampler.kept
    generator = seeded(5)
    phones = torch.randint(15, (2, 2, 11), generator=generator)
    prosody = sampler.draw_prosody(voice.prosody, phones)
    assert torch.equal(prosody[keep], phones[:, 0][keep])
    # Longer than any class: kept all the same; and one that is given but not kept.
    phones[:, 1, 2] = 40
    decided = keep | (torch.arange(11) == 4)
    least, longest = synthesizer.limits(targets)
    durations = sampler.draw_durations(
        voice.duration, prosody, least, longest, phones[:, 1], decided
    )
    assert torch.equal(durations[decided], phones[:, 1][decided])
    assert not durations[~sampler.mask].any()
    lengths = durations.sum(1)
    mask = torch.arange(int(lengths.max())) < lengths[:, None]
    codes = torch.randint(16, (2, 6, mask.shape[1]), generator=generator)
    stays = sampler.kept_frames(durations, mask)
    assert torch.equal(stays.sum(1), phones[:, 1, :3].sum(1))
    before = codes.clone()
    for level in range(6):
        drawn = sampler.draw_level(level, voice.content, durations, codes, mask)
        assert torch.equal(codes, before)
        assert torch.equal(drawn[stays], codes[:, level][stays])
        assert not drawn[~mask].any()
        codes[:, level] = before[:, level] = drawn


def test_kept_codes_of_all_levels_are_seen_on_both_sides(synthesizer, said):
    place = torch.arange(11)
    _, sampler = editing(synthesizer, (place < 3) | (place >= 8), steps=1, guidance=0.0)
    durations = torch.full((1, 11), 3)
    mask = torch.ones(1, 33, dtype=torch.bool)
    codes = torch.randint(16, (1, 6, 33), generator=seeded(1))

    def draw():
        sampler.draw_level(0, None, durations, codes, mask)
        return said[-1][:, 9:24]

    for kept in (slice(0, 9), slice(24, 33)):
        plain = draw()
        codes[:, 5, kept] = (codes[:, 5, kept] + 7) % 16
        assert not torch.allclose(draw(), plain)
    plain = draw()
    codes[:, 1:, 9:24] = 0  # not kept and of higher levels: not seen
    assert torch.equal(draw(), plain)


def test_guidance_leaves_out_what_is_kept_as_it_leaves_out_a_prompt(synthesizer, said):
    """What is said alone is what a text by itself would be, with nothing beside it."""
    place = torch.arange(11)
    _, sampler = editing(synthesizer, (place < 3) | (place >= 8), steps=1)
    _, alone = editing(synthesizer, torch.zeros(5, dtype=torch.bool), [TEXT[2:5]], steps=1)
    alone.symbols, alone.mask = sampler.symbols[:, 3:8], sampler.mask[:, 3:8]
    codes = torch.randint(16, (1, 6, 33), generator=seeded(1))
    mask = torch.ones(1, 33, dtype=torch.bool)
    sampler.draw_level(2, None, torch.full((1, 11), 3), codes, mask)
    assert len(said) == 2
    alone.draw_level(2, None, torch.full((1, 5), 3), codes[..., 9:24], mask[:, 9:24])
    assert len(said) == 3
    torch.testing.assert_close(said[1][:, 9:24], said[2])
    assert not torch.allclose(said[0][:, 9:24], said[2])


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


def test_a_prompt_without_transcript_is_read_by_the_recogniser(synthesizer, voice, monkeypatch):
    # Boundaries, three phones and a pause: 26 frames each, two pieces of at most 15.
    assert voice.content.symbols.tolist() == [1, 1, 25, 25, 2, 2, 77, 77, 29, 29, 1, 1]
    longest = synthesizer.model.config.longest_phone_frames
    monkeypatch.setattr(EvenReader, "recognize", hearing(TEXT * 2))
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


def test_of_a_long_prompt_the_first_part_is_read(monkeypatch):
    monkeypatch.setattr(EvenReader, "recognize", hearing(TEXT * 2))
    synthesizer = tiny_synthesizer(longest_prompt_frames=50)
    voice = synthesizer.encode_prompt(torch.from_numpy(babble(3.0)), TEXT * 2).content
    assert int(voice.durations.sum()) == voice.codes.shape[1]
    assert 50 - 15 < voice.codes.shape[1] <= 50
    whole = tiny_synthesizer().encode_prompt(torch.from_numpy(babble(3.0)), TEXT * 2).content
    assert torch.equal(voice.timbre, whole.timbre)


def test_estimated_durations_need_a_model_that_estimates(synthesizer):
    with pytest.raises(ConfigError, match="regression"):
        synthesizer.model.regress_durations(torch.zeros(1, 3, 16))


def test_the_soundstorm_recipe_is_the_preset():
    recipe = read_recipe(RECIPES / "naturalspeech3-soundstorm.toml", SECTIONS)
    differences = {name: recipe[name] for name in ("model", "objective", "data")}
    what = trainable(recipe["kind"], recipe["preset"], differences)
    assert what.config == soundstorm()
    assert what.sections["objective"].codec == "rvq-small"


def test_the_recipe_of_valle2_over_the_factorized_codec_is_small_with_its_levels(monkeypatch):
    codec = build_facodec(facodec.small())
    monkeypatch.setattr(builders, "_codec_of_codes", lambda *asked: codec)
    recipe, plain = (
        read_recipe(RECIPES / f"valle2-{name}.toml", SECTIONS) for name in ("facodec", "rvq")
    )
    what = trainable("valle2", "small", {name: recipe[name] for name in ("model", "objective")})
    assert what.config == replace(small_valle2(), levels=6)
    assert what.sections["objective"].codec == "facodec-small"
    assert {name: recipe[name] for name in ("kind", "preset", "data", "training")} == {
        name: plain[name] for name in ("kind", "preset", "data", "training")
    }
    assert recipe["objective"]["loss"] == plain["objective"]["loss"]
    assert fits(codec, what.config.levels, what.config.codebook_size)
    # Codes start at what they stand for in the codec: vectors of eight dimensions.
    codes = what.build_objective(Path(), None).model.nonautoregressive.codes
    ranks = [int(torch.linalg.matrix_rank(table.weight[:1024])) for table in codes]
    assert ranks == [8] * 6


def test_the_soundstorm_preset_speaks_over_the_released_codec():
    """Durations, and twelve levels with and without the prompt; no prosody of phones."""
    torch.manual_seed(0)
    codec = load_codec()
    assert fits(codec, soundstorm().levels, soundstorm().codebook_size)
    model = NaturalSpeech3(soundstorm(), len(SYMBOLS))
    synthesizer = NaturalSpeech3Synthesizer(model, codec, EvenReader(), name="soundstorm")
    voice = synthesizer.encode_prompt(torch.from_numpy(babble(1.5)))
    assert count(synthesizer, voice, steps=1) == 1 + 12 * 2


@pytest.mark.slow
def test_the_papers_width_speaks_and_edits():
    """All layers of one kind are alike: one of each, at full width, over the paper's codec."""
    torch.manual_seed(0)
    config = replace(paper(), phoneme_layers=1, phone_layers=1, frame_layers=1)
    codec = build_facodec(replace(facodec.paper(), timbre_layers=1))
    model = NaturalSpeech3(config, len(SYMBOLS))
    synthesizer = NaturalSpeech3Synthesizer(model, codec, EvenReader(), name="paper")
    voice = synthesizer.encode_prompt(torch.from_numpy(babble(1.5)))
    assert voice.timbre.codes.shape == (6, 120)
    assert count(synthesizer, voice) == 60
    symbols, frames = (" ", *TEXT, " "), (30, *[8] * 9, 18)
    revision = Revision(
        symbols=symbols,
        durations_frames=frames,
        new_symbols=symbols,
        new_durations_frames=(*frames[:4], None, *frames[5:]),
        sources=(*range(4), None, *range(5, 11)),
    )
    waveform = torch.from_numpy(babble(1.5))
    made = NaturalSpeech3Editor(synthesizer).edit(waveform, revision, SpeakOptions(), seeded(0))
    assert made.durations_frames[:4] == frames[:4]
    assert np.isfinite(made.samples).all()
