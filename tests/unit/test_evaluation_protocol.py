"""Protocols: small files, read strictly, that say what they are."""

from dataclasses import fields

import pytest

from parlando.contracts import ConfigError
from parlando.curriculum import trainable
from parlando.evaluation.protocol import (
    MEASURES,
    DataRule,
    PromptRule,
    Protocol,
    TextList,
    protocol_names,
    read_protocol,
)
from parlando.generative.masking import network_evaluations
from parlando.systems.naturalspeech2.config import (
    NaturalSpeech2ObjectiveConfig,
    paper,
)
from parlando.systems.naturalspeech3.config import soundstorm
from parlando.systems.valle2.config import VALLE2Config
from parlando.systems.valle2.config import small as small_valle2
from parlando.text.normalize import normalize
from parlando.text.phonemes import phonemize
from parlando.text.vocabulary import is_phone

WANTED = {
    "ablation",
    "best-of-five",
    "bundled",
    "guidance",
    "hard-sentences",
    "length-guard",
    "librispeech-continuation",
    "librispeech-cross",
    "naturalspeech2",
    "naturalspeech2-vctk",
    "naturalspeech3",
    "naturalspeech3-ablation",
    "out-of-domain",
    "parlando",
    "prompt-length",
    "prompt-transcript",
    "ravdess",
    "sampling",
    "scaling",
    "steps",
    "ten-minutes",
}


def test_all_protocols_are_there():
    assert set(protocol_names()) == WANTED


@pytest.mark.parametrize("name", sorted(WANTED))
def test_every_protocol_loads_and_says_what_it_is(name):
    protocol = read_protocol(name)
    assert protocol.name == name
    assert set(protocol.measures) <= set(MEASURES)
    said = "\n".join(protocol.lines())
    assert name in said
    assert protocol.description in said
    assert "Prompts: " in said
    assert all(difference in said for difference in protocol.differences)
    if protocol.papers:
        assert protocol.source, "figures of papers stand beside it: say whose rule it is"


@pytest.mark.parametrize(
    ("name", "speakers", "each", "seconds"),
    [
        ("naturalspeech2", 40, 15, (3.0,)),
        ("naturalspeech2-vctk", 108, 5, (3.0,)),
        ("naturalspeech3", 40, 1, (3.0,)),
        ("naturalspeech3-ablation", 40, 1, (3.0,)),
        ("librispeech-cross", 40, None, ()),
        ("librispeech-continuation", 40, None, (3.0,)),
    ],
)
def test_counts_are_those_of_the_papers(name, speakers, each, seconds):
    protocol = read_protocol(name)
    assert protocol.data.speakers == speakers
    assert protocol.data.sentences_per_speaker == each
    assert protocol.prompts.seconds == seconds


def test_valle2_speaks_utterances_of_four_to_ten_seconds():
    for name in ("librispeech-cross", "librispeech-continuation", "sampling", "best-of-five"):
        rule = read_protocol(name).data
        assert (rule.minimum_seconds, rule.maximum_seconds) == (4.0, 10.0)
        assert rule.part == "test-clean"
    assert read_protocol("librispeech-continuation").prompts.rule == "prefix"


def test_conditions_of_the_issue():
    assert read_protocol("prompt-length").prompts.seconds == (3.0, 5.0, 10.0)
    noisy = {text.name: text.noise_db for text in read_protocol("out-of-domain").texts}
    assert noisy == {
        "homographs": (),
        "rare_names": (),
        "numbers": (),
        "very_long": (),
        "plain": (20.0, 10.0, 0.0),
    }
    assert 150 in read_protocol("steps").steps


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("hard_sentences", 50),
        ("homographs", 12),
        ("rare_names", 12),
        ("numbers", 12),
        ("very_long", 12),
        ("plain", 12),
        ("bundled", 12),
    ],
)
def test_text_lists_can_be_spoken(name, least):
    sentences = TextList(name=name).read()
    assert len(sentences) == len(set(sentences)) >= least
    for sentence in sentences[:20]:
        assert sum(map(is_phone, phonemize(normalize(sentence[:200])))) >= 2


def test_a_joined_list_is_one_text_of_ten_minutes():
    (text,) = TextList(name="very_long", joined=True).read()
    assert 1400 <= len(text.split()) <= 1800, "150 to 170 words a minute"
    assert read_protocol("ten-minutes").texts == (TextList(name="very_long", joined=True),)


def test_switches_of_the_ablation_are_those_of_the_system():
    sections = {"model": paper(), "objective": NaturalSpeech2ObjectiveConfig()}
    protocol = read_protocol("ablation")
    changed = [variant for variant in protocol.variants if variant.changes]
    assert len(changed) == 4
    for variant in changed:
        for dotted, value in variant.changes.items():
            section, field = dotted.split(".")
            usual = getattr(sections[section], field)
            assert type(usual) is type(value)
            assert usual != value, f"{dotted} changes nothing"


def of_changes(variant):
    """What would be trained: ``small`` with the variant's changes."""
    recipe = {}
    for dotted, value in variant.changes.items():
        section, field = dotted.split(".")
        recipe.setdefault(section, {})[field] = value
    return trainable(variant.system, "small", recipe)


def test_switches_of_naturalspeech3_can_be_trained():
    variants = {each.name: each for each in read_protocol("naturalspeech3-ablation").variants}
    assert list(variants) == [
        "whole",
        "no-factorization",
        "duration-regression",
        "no-duration-prosody",
        "no-duration-prompt",
        "mel-prosody",
    ]
    for name, variant in variants.items():
        usual, what = trainable(variant.system, "small"), of_changes(variant)
        assert (what.config == usual.config) is (name == "whole")
    plain = of_changes(variants["no-factorization"])
    assert plain.config == soundstorm()
    assert plain.sections["objective"].codec == "rvq-small"


def test_naturalspeech3_without_guidance_has_as_many_evaluations():
    protocol = read_protocol("naturalspeech3-ablation")

    def evaluations(guidance=1.0, steps=4, duration_steps=None):
        """Prosody of phones, durations, six levels of frames; see the tests of its synthesis."""
        drawn = network_evaluations(steps, levels=7, guided=guidance > 0.0)
        return drawn + network_evaluations(duration_steps or steps, guided=False)

    found = [(labels["drawing"], evaluations(**given)) for labels, given in protocol.settings()]
    assert found == [("whole", 60), ("no-guidance", 60), ("one-duration-step", 57)]


def test_sampling_crosses_groups_repetition_and_nuclei():
    protocol = read_protocol("sampling")
    groups = []
    for variant in protocol.variants:
        ((name, group),) = variant.changes.items() or [("model.group", small_valle2().group)]
        assert name.removeprefix("model.") in {field.name for field in fields(VALLE2Config)}
        groups.append(group)
        assert variant.name == f"group{group}"
    assert groups == [1, 2, 4, 8]
    assert len({variant.place for variant in protocol.variants}) == 4
    settings = protocol.settings()
    assert len(settings) == 2 * 5
    nuclei = {
        on: [options["top_p"] for labels, options in settings if labels["repetition_aware"] == on]
        for on in ("on", "off")
    }
    assert nuclei["on"] == nuclei["off"] == [0.0, 0.2, 0.4, 0.6, 0.8]
    for labels, options in settings:
        assert options["repetition_window"] == {"on": 10, "off": 0}[labels["repetition_aware"]]
        assert float(labels["top_p"]) == options["top_p"]


def test_one_sample_stands_against_the_best_of_five():
    settings = read_protocol("best-of-five").settings()
    # As in the paper, whatever guidance a model has of its own.
    assert settings == [
        ({"samples": str(count)}, {"best_of": count, "guidance": 0.0, "end_threshold": 0.0})
        for count in (1, 5)
    ]


def test_guidance_is_swept_from_none_to_two():
    found = [options["guidance"] for _, options in read_protocol("guidance").settings()]
    assert found == [0.0, 0.5, 1.0, 2.0]


def test_a_prompt_has_its_transcript_or_none_at_all():
    protocol = read_protocol("prompt-transcript")
    assert protocol.settings() == [
        ({"transcript": "given"}, {}),
        ({"transcript": "recognised"}, {"voice_text": None}),
    ]
    assert protocol.prompts == PromptRule(rule="other-utterance"), "uncut, so that the text is its"
    assert "recognised (voice_text = none)" in "\n".join(protocol.lines())


def test_the_guard_of_length_is_watched_in_two_hundred_runs_of_each_sampling():
    protocol = read_protocol("length-guard")
    assert protocol.runs == 200
    assert "Runs: 200 under each condition" in list(protocol.lines())
    (condition,) = protocol.conditions
    paper = read_protocol("sampling").conditions[0]
    # The paper's sampling, with a model's own guidance and threshold of ends.
    none = {"guidance": 0.0, "end_threshold": 0.0}
    assert {name: values | none for name, values in condition.values.items()} == (paper.values)
    assert {"generation", "robustness"} <= set(protocol.measures)
    assert protocol.data == read_protocol("parlando").data


def test_what_is_not_varied_has_one_setting():
    assert read_protocol("librispeech-cross").settings() == [({}, {})]
    assert read_protocol("steps").settings()[0] == ({"steps": "2"}, {"steps": 2})


def test_what_is_not_trained_is_marked_and_not_filled():
    protocol = read_protocol("ablation")
    found = protocol.trained({"whole": "naturalspeech2-small"})
    assert [(variant.name, place) for variant, place in found] == [
        ("whole", "naturalspeech2-small"),
        ("no-diffusion-prompt", None),
        ("no-predictor-prompt", None),
        ("no-ce-rvq", None),
        ("no-query-attention", None),
    ]
    with pytest.raises(ConfigError, match="has no 'hole'; did you mean 'whole'"):
        protocol.trained({"hole": "x"})
    others = read_protocol("naturalspeech3-ablation").trained({"whole": "x"})
    assert [place for _, place in others] == ["x", None, None, None, None, None]


def test_a_protocol_of_ones_own(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(
        'title = "Mine"\nsource = ""\ndescription = "All of it."\nmeasures = ["voice"]\n'
        '[prompts]\nrule = "other-utterance"\nseconds = [2, 4]\n'
        "[data]\nspeakers = 7\nminimum_seconds = 1\n"
    )
    protocol = read_protocol(file)
    assert protocol.name == "mine"
    assert protocol.prompts == PromptRule(rule="other-utterance", seconds=(2.0, 4.0))
    assert protocol.data == DataRule(speakers=7, minimum_seconds=1.0)
    assert protocol.needs_data
    assert not read_protocol("bundled").needs_data
    assert not read_protocol("hard-sentences").needs_data


def varying(values, label="x", times=1):
    """The top of a protocol file that varies one way of speaking, or the same one twice."""
    inside = ", ".join(
        f"{name} = {{{', '.join(f'{key} = {value}' for key, value in options.items())}}}"
        for name, options in values.items()
    )
    condition = f'{{label = "{label}", values = {{{inside}}}}}'
    return f'measures = ["voice"]\nconditions = [{", ".join([condition] * times)}]\n'


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('measures = ["voice"]\nspekers = 3\n', "has no 'spekers'"),
        ('measures = ["voic"]\n', "has no 'voic'; did you mean 'voice'"),
        ("measures = []\n", "measures nothing"),
        ('measures = ["voice"]\nsteps = [0]\n', "counted from 1, got 0"),
        ('measures = ["voice"]\ntexts = [{name = "plain"}]\n', "nobody says the texts"),
        (varying({"a": {}}), "condition x: varies nothing"),
        (varying({"a": {}, "b": {"top": 1}}), "has no 'top'; did you mean 'top_p'"),
        (varying({"a": {}, "b": {}}, label="system"), "trials have this label already"),
        (varying({"a": {}, "b": {}}, times=2), "two conditions have one label"),
        ('measures = ["voice"]\nruns = 3\n', "runs is 3 with the rule 'other-utterance'"),
        (varying({"a": {}, "b": {}}) + 'data = {layout = "ravdess"}\n', "spoken once"),
        ("measures = [\n", "not valid TOML"),
    ],
)
def test_wrong_files_are_refused_in_one_line(tmp_path, text, reason):
    file = tmp_path / "wrong.toml"
    file.write_text(
        f'title = ""\nsource = ""\ndescription = ""\n{text}[prompts]\nrule = "other-utterance"\n'
    )
    with pytest.raises(ConfigError, match=reason) as caught:
        read_protocol(file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("rule", "seconds", "reason"),
    [("prefix", (), "give one value"), ("other-utterance", (3.0, 0.0), "above 0")],
)
def test_wrong_prompts_are_refused(rule, seconds, reason):
    with pytest.raises(ConfigError, match=reason):
        Protocol(
            name="x",
            title="",
            source="",
            description="",
            measures=("voice",),
            prompts=PromptRule(rule=rule, seconds=seconds),
        )


def test_unknown_names_get_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'naturalspeech2'"):
        read_protocol("naturalspech2")
    with pytest.raises(ConfigError, match="did you mean 'homographs'"):
        TextList(name="homograph").read()
    with pytest.raises(ConfigError, match="cannot read the protocol"):
        read_protocol("nowhere.toml")
