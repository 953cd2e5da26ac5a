"""Figures of papers: read strictly, and comparable only where judge and sentences are the same."""

from dataclasses import replace
from pathlib import Path

import pytest

from parlando.contracts import ConfigError
from parlando.evaluation.measure import Quantity
from parlando.evaluation.measures import Judges, build_measures
from parlando.evaluation.papers import (
    CODEC_TABLES,
    CONVERSION_TABLES,
    OTHER_DATA,
    PaperQuantity,
    PaperRow,
    PaperTable,
    beside,
    paper_names,
    read_table,
)
from parlando.evaluation.protocol import MEASURES, protocol_names, read_protocol

WER = Quantity(key="wer", title="Word error rate", unit="%", judge="HuBERT CTC hubert-large-ls960")
SIM = Quantity(key="sim_o", title="SIM-O", judge="WavLM x-vector wavlm-large-tdnn")


def value_of(name, system, key):
    (row,) = [row for row in read_table(name).rows if row.system == system]
    return row.values[key]


@pytest.mark.parametrize("name", paper_names())
def test_every_table_loads(name):
    table = read_table(name)
    assert table.paper
    assert table.protocol
    assert len({row.system for row in table.rows}) == len(table.rows)
    assert all(row.values for row in table.rows)


def test_every_table_is_set_beside_something():
    used = {name for protocol in protocol_names() for name in read_protocol(protocol).papers}
    assert used | {*CODEC_TABLES, *CONVERSION_TABLES} == set(paper_names())


LISTENERS = {"smos", "cmos"}
COSTS = {"real_time_factor", "network_evaluations", "parameters"}


def test_every_quantity_of_a_paper_is_one_of_ours_or_of_listeners():
    judges = Judges(aligner=object, codec=object, ravdess=Path("r"), utmos=Path("u"))
    built, _ = build_measures([name for name in MEASURES if name != "cost"], judges)
    ours = {quantity.key for measure in built for quantity in measure.quantities} | COSTS
    for name in paper_names():
        assert set(read_table(name).quantities) <= ours | LISTENERS, name


def test_counts_of_fifty_sentences_are_given_per_sentence_as_ours_are():
    assert value_of("naturalspeech2-hard", "Transformer TTS", "skips") == 15 / 50
    assert value_of("naturalspeech2-hard", "Transformer TTS", "repeats") == 7 / 50
    assert value_of("naturalspeech2-hard", "Tacotron", "slipped") == 100 * 12 / 50


def test_values_are_those_printed():
    assert value_of("naturalspeech2-librispeech", "NaturalSpeech 2", "wer") == 2.26
    assert value_of("naturalspeech2-vctk", "Ground truth", "wer") == 9.49
    assert value_of("naturalspeech2-prompt-length", "NaturalSpeech 2, 5 s", "pitch_std_prompt") == (
        4.29
    )
    assert value_of("naturalspeech3-librispeech", "NaturalSpeech 3", "sim_o") == 0.67
    assert value_of("naturalspeech3-ravdess", "Mega-TTS 2", "emotion_nearest") == 39
    assert value_of("naturalspeech3-ablation", "without factorization", "wer") == 2.49
    assert value_of("naturalspeech3-duration", "durations without the prompt", "utmos") == 4.08
    assert value_of("naturalspeech3-prosody", "NaturalSpeech 3", "emotion_nearest") == 52
    assert value_of("naturalspeech3-codecs", "FACodec", "mcd") == 2.59
    assert value_of("valle2-cross", "Ground truth", "sim_o") == 0.779
    assert value_of("valle2-continuation", "Ground truth", "sim_o") == 0.905


def test_versions_of_a_paper_stay_apart():
    first, later = read_table("naturalspeech3-scaling"), read_table("naturalspeech3-scaling-later")
    assert first.paper != later.paper
    assert first.rows[0].values != later.rows[0].values


def test_the_same_judge_on_the_same_sentences_may_be_compared():
    figures = beside(["naturalspeech2-librispeech"], [WER], same_data=True)
    assert [figure.value for figure in figures] == [1.94, 7.10, 2.26]
    assert all(figure.comparable and not figure.difference for figure in figures)


def test_another_judge_is_another_quantity():
    offline = replace(WER, judge="pocketsphinx-5 en-us; lower case")
    (first, *_) = beside(["naturalspeech2-librispeech"], [offline], same_data=True)
    assert not first.comparable
    assert "HuBERT" in first.difference
    assert "pocketsphinx" in first.difference
    resemblyzer = replace(SIM, judge="resemblyzer 0.1 (GE2E)")
    assert not any(f.comparable for f in beside(["valle2-cross"], [resemblyzer], same_data=True))
    assert all(f.comparable for f in beside(["valle2-cross"], [SIM], same_data=True))
    # HuBERT here, a Conformer there.
    assert not any(f.comparable for f in beside(["valle2-cross"], [WER], same_data=True))


def test_a_small_speaker_encoder_is_not_the_papers():
    small = replace(SIM, judge="WavLM x-vector microsoft/wavlm-base-plus-sv")
    assert not any(f.comparable for f in beside(["valle2-cross"], [small], same_data=True))


def test_other_sentences_are_not_compared():
    figures = beside(["naturalspeech2-librispeech"], [WER], same_data=False)
    assert figures
    assert {figure.difference for figure in figures} == {OTHER_DATA}


def test_only_what_a_report_has_is_set_beside():
    figures = beside(["naturalspeech3-librispeech", "naturalspeech3-scores"], [SIM], same_data=True)
    assert {figure.quantity for figure in figures} == {"sim_o"}
    assert beside(["valle2-cross"], [], same_data=True) == []


def test_codecs_are_not_compared_across_test_recordings():
    pesq = Quantity(key="pesq", title="PESQ")
    figures = beside(CODEC_TABLES, [pesq], same_data=True)
    assert len(figures) == 8
    assert not any(figure.comparable for figure in figures)


def test_conversions_are_not_compared_across_pairs():
    likeness = Quantity(key="sim_target", title="Similarity", judge="wavlm-large-tdnn")
    figures = beside(CONVERSION_TABLES, [likeness, WER], same_data=True)
    assert [figure.value for figure in figures if figure.system == "FACodec"] == [0.86, 3.46]
    assert not any(figure.comparable for figure in figures)


def test_wrong_tables_are_refused():
    with pytest.raises(ConfigError, match="has no 'valle-crss'; did you mean 'valle-cross'"):
        beside(["valle-crss"], [WER], same_data=True)
    with pytest.raises(ConfigError, match="has no 'werr'; did you mean 'wer'"):
        PaperTable(
            paper="p",
            table="t",
            protocol="",
            quantities={"wer": PaperQuantity()},
            rows=(PaperRow(system="s", values={"werr": 1.0}),),
        )
