"""Editing with NaturalSpeech 3: what stays is given, what is new is drawn, sixty evaluations."""

import numpy as np
import pytest
import torch
from sines import babble
from tinyfactorized import tiny_facodec, tiny_model, tiny_synthesizer

from parlando import registry
from parlando.codecs.facodec import config as facodec
from parlando.contracts import ConfigError, Editor, Revision, SpeakOptions
from parlando.evaluation.cost import counted_calls
from parlando.recipes import to_mapping
from parlando.systems.naturalspeech3.config import tiny
from parlando.systems.naturalspeech3.editing import NaturalSpeech3Editor
from parlando.training.checkpoint import Card, save_release

# A pause of 40 frames is longer than any class, 15; so is the last phone that stays.
OLD = (" ", "h", "ə", "l", "ˈoʊ", ",", "w", "ˈɜː", "l", "d", " ")
FRAMES = (40, 5, 4, 6, 9, 12, 5, 8, 4, 20, 7)
NEW = (" ", "h", "ə", "l", "ˈoʊ", "t", "ˈuː", ",", "w", "ˈɜː", "l", "d", " ")
REVISION = Revision(
    symbols=OLD,
    durations_frames=FRAMES,
    new_symbols=NEW,
    new_durations_frames=(40, 5, 4, 6, 9, None, None, 12, 5, 8, 4, 20, 7),
    # The last phone before the new ones is made anew, as long as it was.
    sources=(0, 1, 2, 3, None, None, None, 5, 6, 7, 8, 9, 10),
)
SHORTER = Revision(
    symbols=OLD,
    durations_frames=FRAMES,
    new_symbols=(*OLD[:2], *OLD[3:]),
    new_durations_frames=(*FRAMES[:2], *FRAMES[3:]),
    sources=(0, 1, None, *range(4, 11)),
)
SWITCHES = [
    {},
    {"plain": True},
    {"duration_objective": "regression"},
    {"duration_reads_prosody": False},
    {"duration_reads_prompt": False},
    {"guidance": 0.0},
]


def sound():
    return torch.from_numpy(babble(3.0)[: sum(FRAMES) * 200])


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def edited(synthesizer, revision=REVISION, seed=0, **options):
    """Edit, and catch the codes that are decoded, ``(Q, T)``."""
    caught = []
    decode = synthesizer.decode
    synthesizer.decode = lambda codes, timbre: caught.append(codes.clone()) or decode(codes, timbre)
    try:
        made = NaturalSpeech3Editor(synthesizer).edit(
            sound(), revision, SpeakOptions(**options), seeded(seed)
        )
    finally:
        del synthesizer.decode
    return made, caught[0]


@pytest.fixture(scope="module")
def synthesizer():
    return tiny_synthesizer()


@pytest.mark.parametrize("revision", [REVISION, SHORTER])
@pytest.mark.parametrize("differences", SWITCHES)
def test_what_stays_has_its_codes_and_durations(differences, revision):
    synthesizer = tiny_synthesizer(**differences)
    made, codes = edited(synthesizer, revision)
    assert made.symbols == revision.new_symbols
    wanted = revision.new_durations_frames
    for frames, given in zip(made.durations_frames, wanted, strict=True):
        assert frames == given if given is not None else 1 <= frames <= 15
    assert sum(made.durations_frames) == codes.shape[1] == len(made.samples) // 200
    assert len(made.f0_hz) == codes.shape[1]
    before = synthesizer.codec.encode(sound()[None])[0]
    old, new = (np.cumsum([0, *each]) for each in (FRAMES, made.durations_frames))
    for place, source in enumerate(revision.sources):
        now = codes[:, new[place] : new[place + 1]]
        if source is not None:
            assert torch.equal(now, before[: len(codes), old[source] : old[source + 1]])
        elif wanted[place] is not None and revision is REVISION:
            assert not torch.equal(now, before[: len(codes), old[4] : old[5]])
    assert np.isfinite(made.samples).all()
    assert np.abs(made.samples).max() <= 1.0


def test_sixty_evaluations_and_fifteen_with_one_step(synthesizer):
    editor = NaturalSpeech3Editor(synthesizer)
    for options, wanted in (({}, 60), ({"steps": 1}, 15), ({"guidance": 0.0}, 32)):
        with counted_calls(synthesizer.model.time) as calls:
            editor.edit(sound(), REVISION, SpeakOptions(**options), seeded(0))
        assert calls.count == wanted


def test_a_seed_means_the_same_again_and_another_something_else(synthesizer):
    first, again, other = (edited(synthesizer, seed=seed)[0] for seed in (1, 1, 2))
    assert np.array_equal(first.samples, again.samples)
    assert first.samples.shape != other.samples.shape or not np.array_equal(
        first.samples, other.samples
    )


def test_what_is_made_depends_on_both_sides(synthesizer, monkeypatch):
    """One step, so that codes are the likeliest ones, and fixed durations."""
    revision = Revision(
        symbols=OLD,
        durations_frames=FRAMES,
        new_symbols=OLD,
        new_durations_frames=FRAMES,
        sources=(*range(4), None, *range(5, 11)),
    )
    before = synthesizer.codec.encode(sound()[None])

    def middle(codes):
        monkeypatch.setattr(synthesizer.codec, "encode", lambda waveform: codes)
        return edited(synthesizer, revision, steps=1)[1][:, 55:64]

    plain = middle(before)
    for side in (slice(40, 55), slice(64, 90)):
        other = before.clone()
        other[..., side] = (other[..., side] + 5) % 16
        assert not torch.equal(middle(other), plain)
    # What was said in the place of the change is not looked at.
    other = before.clone()
    other[..., 55:64] = (other[..., 55:64] + 5) % 16
    assert torch.equal(middle(other), plain)


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "my-voice"
    differences = {"levels": 6}
    config = to_mapping(tiny()) | differences
    save_release(place, tiny_model(**differences), Card(kind="naturalspeech3", config=config))
    card = Card(kind="facodec", config=to_mapping(facodec.tiny()))
    save_release(place / "codec", tiny_facodec(), card)
    return place


def test_a_trained_system_is_an_editor_by_its_folder(folder):
    editor = registry.load_editor(folder)
    assert isinstance(editor.editor, Editor)
    assert editor.name == "my-voice"
    assert editor.editor.context_frames == tiny().longest_prompt_frames
    with pytest.raises(ConfigError, match="my-voice has no option speed; it has duration_steps"):
        editor.edit((babble(3.0), 16_000), "hello", "hello you", speed=2.0)
    with pytest.raises(ConfigError, match="device 'gpu'"):
        registry.load_editor(folder, "gpu")
