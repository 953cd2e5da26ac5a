"""Choosing sentences and prompts on tiny corpora of tones."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import soundfile
from speechlike import padded, speechlike

from parlando.audio.waveform import trim_silence
from parlando.contracts import ConfigError
from parlando.data.corpora import Recording as Utterance
from parlando.evaluation.intelligibility import scoring_words
from parlando.evaluation.material import (
    Spoken,
    divided,
    enrolled,
    joined_seconds,
    prompt_of,
    read_utterances,
    speech_of,
    words_by_letters,
)
from parlando.evaluation.measure import RATE_HZ, Recording
from parlando.evaluation.protocol import DataRule, PromptRule, read_protocol
from parlando.evaluation.selection import Selection, choose, select
from parlando.evaluation.sounds import read_joined, read_recording

WORDS = [
    *("alder", "birch", "cedar", "dogwood", "elm"),
    *("fir", "ginkgo", "hazel", "ironwood", "juniper"),
]
PITCH = {"anna": 220.0, "bert": 105.0, "carl": 125.0, "dora": 205.0}


def make(folder, speaker, number, seconds, **fields):
    """One utterance: speech of a length between 0.3 s and 0.2 s of silence."""
    path = folder / f"{speaker}-{number:02d}.wav"
    if not path.exists():
        sound = speechlike(seconds, RATE_HZ, PITCH.get(speaker, 150.0))
        soundfile.write(path, padded(sound, 0.3, 0.2), RATE_HZ)
    text = " ".join([WORDS[number % 10], speaker, *WORDS[: 3 + number % 4], f"word{number}"])
    given = {
        "id": f"{speaker}/{number:02d}",
        "audio_path": path,
        "text": text,
        "speaker": speaker,
        "source": "librispeech",
        "split": "test",
        "sex": "female" if PITCH.get(speaker, 0) > 160 else "male",
        "duration_seconds": seconds + 0.5,
    }
    return Utterance(**(given | fields))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("corpus") / "test-clean"
    place.mkdir()
    return place


@pytest.fixture(scope="module")
def corpus(folder):
    """Four speakers with nine utterances of 2.0 to 6.8 s each."""
    return [make(folder, s, n, 2.0 + 0.6 * n) for s in PITCH for n in range(9)]


def protocol_of(name, **data):
    protocol = read_protocol(name)
    return replace(protocol, data=replace(protocol.data, **data))


def prompt_files(trial):
    return {piece.path.stem for piece in trial.prompt}


def said_in(trial, corpus):
    return {item.text for item in corpus if item.audio_path.stem in prompt_files(trial)}


def test_counts_and_shortfalls_of_naturalspeech2(corpus):
    selection = select(protocol_of("naturalspeech2", sentences_per_speaker=5), corpus)
    assert Counter(trial.speaker for trial in selection.trials) == dict.fromkeys(PITCH, 5)
    assert "4 speakers instead of 40" in selection.remarks
    assert not selection.complete
    more = select(protocol_of("naturalspeech2", sentences_per_speaker=15), corpus)
    assert len(more.trials) == 36
    assert any("4 of 4 speakers have fewer than 15" in remark for remark in more.remarks)


def test_a_corpus_that_has_it_all_is_complete(corpus):
    rule = {"speakers": 4, "sentences_per_speaker": 3}
    assert select(protocol_of("naturalspeech2", **rule), corpus).complete
    quick = select(protocol_of("naturalspeech2", **rule), corpus, limit=2)
    assert not quick.complete
    assert "a quick look: at most 2 sentences" in quick.remarks
    strange = select(protocol_of("naturalspeech2", sources=("vctk",), **rule), corpus)
    assert not strange.complete
    assert "the corpus is librispeech, not vctk" in strange.remarks
    other = select(protocol_of("naturalspeech2", part="test-other", **rule), corpus)
    assert any("test-other" in remark for remark in other.remarks)


def test_more_speakers_than_the_paper_are_not_taken(corpus):
    selection = select(protocol_of("naturalspeech3", speakers=3), corpus)
    assert len({trial.speaker for trial in selection.trials}) == len(selection.trials) == 3
    again = {
        trial.speaker
        for seed in range(6)
        for trial in select(protocol_of("naturalspeech3", speakers=3), corpus, seed).trials
    }
    assert again == set(PITCH), "another seed takes others"


def test_prompts_are_three_seconds_of_another_utterance(corpus):
    selection = select(read_protocol("naturalspeech2"), corpus)
    for trial in selection.trials:
        assert trial.reference.path.stem not in prompt_files(trial)
        assert all(stem.startswith(trial.speaker) for stem in prompt_files(trial))
        assert joined_seconds(trial.prompt) == pytest.approx(3.0)
        assert len(read_joined(trial.prompt)) == 3 * RATE_HZ
        assert len(trial.prompt) == 1, "there are utterances that are long enough alone"
        # 0.3 s of silence come first, of which a margin of 0.1 s is kept.
        assert trial.prompt[0].start_seconds == pytest.approx(0.2, abs=0.05)
        assert trial.reference_speaker == trial.speaker
        assert trial.group == ("female" if trial.speaker in ("anna", "dora") else "male")


def test_no_prompt_says_the_sentence(folder):
    spellings = ["Juniper, HAZEL.", "juniper hazel", "Juniper hazel!", "juniper  Hazel"]
    same = [make(folder, "lena", n, 5.0, text=text) for n, text in enumerate(spellings)]
    mine = [*same, make(folder, "lena", 4, 5.0, text="Another elm.")]
    for seed in range(4):
        selection = select(read_protocol("naturalspeech2"), mine, seed)
        said = {trial.text: said_in(trial, mine) for trial in selection.trials}
        for text, prompts in said.items():
            words = scoring_words(text)
            assert words not in [scoring_words(prompt) for prompt in prompts]
    assert any(prompts == {"Another elm."} for prompts in said.values())


def test_every_sentence_is_spoken_under_every_combination(corpus):
    cross, plain = (select(read_protocol(name), corpus) for name in ("sampling", "best-of-five"))
    sentences = {trial.sentence for trial in plain.trials}
    assert len(cross.trials) == 10 * len(sentences) == 5 * len(plain.trials)
    assert len({trial.id for trial in cross.trials}) == len(cross.trials)
    assert {trial.sentence for trial in cross.trials} == sentences
    first = cross.trials[:10]
    assert len({(trial.prompt, trial.seed, trial.control_text) for trial in first}) == 1
    labels = [(t.labels["repetition_aware"], t.labels["top_p"]) for t in first]
    assert labels == [(on, p) for on in ("on", "off") for p in ("0", "0.2", "0.4", "0.6", "0.8")]
    assert first[6].options == {
        "repetition_window": 0,
        "guidance": 0.0,
        "end_threshold": 0.0,
        "top_p": 0.2,
    }
    assert first[6].id.endswith("-repetition_aware_off-top_p_0.2")


def test_vall_e_2_takes_whole_utterances_of_four_to_ten_seconds(corpus):
    cross = select(read_protocol("librispeech-cross"), corpus)
    lengths = {item.audio_path: item.duration_seconds for item in corpus}
    assert len(cross.trials) == 4 * 6
    for trial in cross.trials:
        assert 4.0 <= lengths[trial.reference.path] <= 10.0
        (piece,) = trial.prompt
        whole = next(item for item in corpus if item.audio_path == piece.path)
        assert piece == speech_of(whole)
        assert trial.prompt_text == whole.text
        assert not trial.continues
    assert min(lengths.values()) < 4.0


def test_continuation_keeps_the_first_three_seconds_and_divides_the_text(corpus):
    selection = select(read_protocol("librispeech-continuation"), corpus)
    texts = {item.audio_path: item.text for item in corpus}
    assert len(selection.trials) == 4 * 6
    for trial in selection.trials:
        (piece,) = trial.prompt
        whole = read_recording(Recording(path=piece.path))
        assert piece.path == trial.reference.path
        np.testing.assert_array_equal(read_joined(trial.prompt), whole[: 3 * RATE_HZ])
        np.testing.assert_array_equal(read_recording(trial.reference), whole[3 * RATE_HZ :])
        assert f"{trial.prompt_text} {trial.text}" == texts[piece.path]
        assert trial.text
        assert trial.continues


def test_a_word_is_continued_where_its_middle_lies_after_the_cut(folder):
    target = make(folder, "anna", 8, 6.8, text="aaaa bbbb cccc dddd")
    given = Spoken(utterance=target, speech=speech_of(target))
    start, length = given.speech.start_seconds, given.speech.seconds
    counts = [words_by_letters(given, start + length * share) for share in (0, 0.12, 0.13, 0.5, 1)]
    assert counts == [0, 0, 1, 2, 4]


def test_who_knows_words_better_divides_the_text(corpus):
    selection = select(
        read_protocol("librispeech-continuation"), corpus, words_within=lambda given, seconds: 1
    )
    assert all(len(trial.prompt_text.split()) == 1 for trial in selection.trials)
    nothing = read_protocol("librispeech-continuation")
    with pytest.raises(ConfigError, match=r"no sentence is left .*nothing to continue"):
        select(nothing, corpus, words_within=lambda given, seconds: 99)


def test_the_same_seed_gives_the_same_list(corpus):
    protocol = read_protocol("naturalspeech2")
    first = select(protocol, corpus, seed=3)
    assert select(protocol, corpus[::-1], seed=3) == first
    assert select(protocol, corpus, seed=4).trials != first.trials


def test_another_speaker_changes_nothing_for_the_others(folder, corpus):
    protocol = protocol_of("naturalspeech2", sentences_per_speaker=3)
    more = [*corpus, *(make(folder, "emil", n, 3.0 + n) for n in range(6))]

    def of_anna(selection):
        return [(t.text, t.prompt) for t in selection.trials if t.speaker == "anna"]

    assert of_anna(select(protocol, corpus)) == of_anna(select(protocol, more))


def test_prompt_lengths_are_paired_and_nested(corpus):
    selection = select(read_protocol("prompt-length"), corpus)
    by_stem = {}
    for trial in selection.trials:
        by_stem.setdefault(trial.id.split("-prompt")[0], []).append(trial)
    assert len(by_stem) == 36
    for trials in by_stem.values():
        assert [t.labels["prompt_seconds"] for t in trials] == ["3", "5", "10"]
        assert len({(t.text, t.seed, t.control_text, t.reference) for t in trials}) == 1
        sounds = [read_joined(t.prompt) for t in trials]
        assert len(sounds[2]) == pytest.approx(10 * RATE_HZ, abs=0.16 * RATE_HZ)
        for shorter, longer in pairwise(sounds):
            np.testing.assert_array_equal(shorter, longer[: len(shorter)])
    assert len({trial.id for trial in selection.trials}) == len(selection.trials)


def test_a_speaker_with_too_little_for_the_longest_prompt_is_left_out_of_all(folder, corpus):
    short = [make(folder, "gert", n, 2.5) for n in range(3)]
    selection = select(read_protocol("prompt-length"), [*corpus, *short])
    assert "gert" not in {trial.speaker for trial in selection.trials}
    assert any("3 of 39 sentences are left out" in remark for remark in selection.remarks)


def test_steps_and_noise_are_paired(corpus):
    protocol = replace(read_protocol("steps"), steps=(2, 8))
    selection = select(protocol, corpus, limit=3)
    assert [trial.options["steps"] for trial in selection.trials] == [2, 8] * 3
    assert [trial.labels["steps"] for trial in selection.trials] == ["2", "8"] * 3
    noisy = select(read_protocol("out-of-domain"), corpus)
    plain = [trial for trial in noisy.trials if trial.labels["text"] == "plain"]
    assert len(plain) == 12 * 4
    assert [trial.noise_db for trial in plain[:4]] == [None, 20.0, 10.0, 0.0]
    assert [trial.labels["noise_db"] for trial in plain[:4]] == ["clean", "20", "10", "0"]
    assert len({(trial.seed, trial.prompt, trial.text) for trial in plain[:4]}) == 1
    rest = [trial for trial in noisy.trials if trial not in plain]
    assert all(trial.noise_db is None and "noise_db" not in trial.labels for trial in rest)
    assert Counter(trial.labels["text"] for trial in rest)["homographs"] >= 12


def test_controls_are_other_texts_and_each_is_used_once(corpus):
    trials = select(read_protocol("naturalspeech2"), corpus).trials
    assert all(trial.control_text != trial.text for trial in trials)
    assert sorted(trial.control_text for trial in trials) == sorted(trial.text for trial in trials)
    # A quick look borrows its chance level from the sentences that it leaves out.
    quick = select(read_protocol("naturalspeech2"), corpus, limit=1)
    said = {trial.text for trial in trials}
    assert quick.trials[0].control_text in said - {quick.trials[0].text}
    assert not any("control" in remark for remark in quick.remarks)
    texts = ("Other words.", "The same words.", "The same words.")
    alike = [replace(item, text=texts[place % 3]) for place, item in enumerate(corpus)]
    lone = select(read_protocol("naturalspeech2"), alike)
    assert {trial.control_text for trial in lone.trials} == {None}
    assert any("control" in remark for remark in lone.remarks)


def test_limits_are_evenly_spread(corpus):
    whole = select(read_protocol("naturalspeech2"), corpus)
    some = select(read_protocol("naturalspeech2"), corpus, limit=8)
    assert Counter(trial.speaker for trial in some.trials) == dict.fromkeys(PITCH, 2)
    assert {trial.text for trial in some.trials} < {trial.text for trial in whole.trials}
    texts = select(read_protocol("out-of-domain"), corpus, limit=6)
    assert len({trial.labels["text"] for trial in texts.trials}) >= 4


def test_the_gallery_is_in_no_prompt(corpus):
    for name in ("naturalspeech2", "librispeech-cross", "hard-sentences"):
        selection = select(read_protocol(name), corpus)
        assert set(selection.gallery.speech) == set(PITCH)
        known = {piece for pieces in selection.gallery.speech.values() for piece in pieces}
        used = {stem for trial in selection.trials for stem in prompt_files(trial)}
        assert not used & {piece.path.stem for piece in known}
        assert all(joined_seconds(p) >= 2.0 for p in selection.gallery.speech.values())


def test_sexes_are_judged_by_pitch_where_the_corpus_does_not_say(corpus):
    unlabelled = [replace(item, sex=None) for item in corpus]
    for name in ("naturalspeech2", "hard-sentences"):
        selection = select(read_protocol(name), unlabelled, limit=4)
        assert selection.gallery.groups == select(read_protocol(name), corpus).gallery.groups
        assert any("4 of 4 speakers is judged by their median" in r for r in selection.remarks)


def test_parlando_speaks_native_sentences_in_test_voices_in_turn(folder, corpus):
    known = [make(folder, "hugo", n, 3.0, split="valid") for n in range(6)]
    accented = make(folder, "hugo", 7, 3.0, split="valid", extra={"native_english": False})
    trained = make(folder, "hugo", 8, 3.0, split="train")
    selection = select(read_protocol("parlando"), [*known, accented, trained, *corpus])
    assert len(selection.trials) == 6 + 36
    spoken = [trial.reference.path.stem for trial in selection.trials]
    assert spoken[:6] == [item.audio_path.stem for item in known], "in the order of the corpus"
    turns = Counter(trial.speaker for trial in selection.trials)
    assert set(turns) == set(PITCH)
    assert max(turns.values()) - min(turns.values()) <= 6
    for trial in selection.trials:
        assert trial.text not in said_in(trial, corpus)
        assert 3.0 <= joined_seconds(trial.prompt) <= 6.0


def test_runs_say_sentences_again_in_the_next_voice_with_the_next_seed(folder, corpus):
    known = [make(folder, "hugo", n, 3.0, split="valid") for n in range(3)]
    guard = replace(read_protocol("length-guard"), runs=7)
    guard = replace(guard, data=replace(guard.data, splits=("valid",)))
    trials = select(guard, [*known, *corpus], seed=5).trials
    assert len({trial.id for trial in trials}) == len(trials) == 2 * 7
    runs = trials[::2]
    assert [run.text for run in runs] == [known[n % 3].text for n in range(7)]
    assert [run.seed for run in runs] == list(range(5, 12))
    assert runs[0].speaker != runs[3].speaker
    for on, off in zip(runs, trials[1::2], strict=True):
        assert (on.sentence, on.prompt) == (off.sentence, off.prompt)
        assert (on.options["repetition_window"], off.options["repetition_window"]) == (10, 0)
    assert len(select(guard, [*known, *corpus], limit=2).trials) == 2 * 2, "a quick look"
    fewer = select(replace(guard, runs=2), [*known, *corpus]).trials[::2]
    assert [trial.text for trial in fewer] == [known[0].text, known[1].text]


def test_an_only_clip_gives_both_halves(folder):
    clip = make(folder, "ines", 0, 9.0)
    speaker = enrolled([clip])
    whole = trim_silence(read_recording(Recording(path=clip.audio_path)), RATE_HZ)
    half = len(whole) // 2
    np.testing.assert_array_equal(read_joined(speaker.prompt.pieces), whole[:half])
    np.testing.assert_array_equal(read_joined(speaker.enrolment), whole[half:])
    assert enrolled([make(folder, "jan", 0, 4.0)]) is None


def test_short_utterances_are_joined_and_cut_to_the_sample(folder, corpus):
    short = [make(folder, "gert", n, 2.5) for n in range(3)]
    prompt = prompt_of(short, 5.0)
    assert len(read_joined(prompt.pieces)) == 5 * RATE_HZ
    assert [item.utterance.id for item in prompt.spoken] == ["gert/00", "gert/01"]
    assert prompt_of(short, 9.0) is None
    # The first lasts long enough in all, but 2.9 s of it are silence.
    quiet = make(folder, "gert", 5, 0.6)
    soundfile.write(quiet.audio_path, padded(speechlike(0.6), 2.0, 0.9), RATE_HZ)
    quiet = replace(quiet, duration_seconds=3.5)
    alone = prompt_of([quiet, *short, make(folder, "gert", 6, 4.0)], 3.0)
    assert [item.utterance.id for item in alone.spoken] == ["gert/06"]
    head, tail = divided(prompt.pieces, 1.0)
    assert joined_seconds(head) == 1.0
    assert joined_seconds(tail) == pytest.approx(4.0)


def test_lists_survive_as_text(corpus, folder):
    selection = select(read_protocol("out-of-domain"), corpus, limit=9)
    assert Selection.from_json(selection.to_json()) == selection
    text = selection.to_json(folder)
    assert str(folder) not in text
    assert Selection.from_json(text, folder) == selection
    with pytest.raises(ConfigError, match="not a list of trials"):
        Selection.from_json("{")
    with pytest.raises(ConfigError, match="lacks gallery"):
        Selection.from_json('{"trials": []}')


def test_what_cannot_be_spoken_is_said_in_one_line(folder, corpus):
    protocol = read_protocol("naturalspeech2")
    untold = [replace(item, text=None) for item in corpus]
    train = [replace(item, split="train") for item in corpus]
    lost = [*corpus, replace(corpus[0], id="x", audio_path=folder / "nowhere.wav")]
    long = protocol_of("naturalspeech2", minimum_seconds=60.0)
    alone = [corpus[0]]
    cases = [
        (protocol, [], "holds no recordings"),
        (protocol, untold, "none of 36 recordings has a transcript"),
        (protocol, train, "no recording of split test, librispeech has train"),
        (protocol, lost, "1 of 37 recordings have no sound file, the first is .*nowhere.wav"),
        (long, corpus, "none of 36 recordings lasts 60 to inf s"),
        (protocol, alone, "no sentence is left .*1 of 1 sentences are left out"),
        (read_protocol("hard-sentences"), alone, "none of 1 speakers has enough speech"),
        (read_protocol("ravdess"), corpus, "reads a folder of RAVDESS"),
    ]
    for given, recordings, reason in cases:
        with pytest.raises(ConfigError, match=reason) as caught:
            select(given, recordings)
        assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="a limit of 0 leaves nothing"):
        select(protocol, corpus, limit=0)


def test_some_missing_transcripts_are_counted(corpus):
    some = [replace(item, text=None) if item.speaker == "anna" else item for item in corpus]
    selection = select(read_protocol("naturalspeech2"), some)
    assert "9 recordings have no transcript and are not spoken" in selection.remarks
    assert {trial.speaker for trial in selection.trials} == set(PITCH) - {"anna"}
    cross = select(read_protocol("librispeech-cross"), corpus)
    assert all(trial.prompt_text for trial in cross.trials)


def test_training_speech_is_said_to_be_that(corpus):
    vctk = protocol_of("naturalspeech2-vctk", speakers=4, sources=("librispeech",))
    heard = [replace(item, split="train") if item.speaker == "anna" else item for item in corpus]
    remarks = select(vctk, heard).remarks
    assert any("marks 9 of 36 recordings as training speech" in remark for remark in remarks)
    assert not any("training" in remark for remark in select(vctk, corpus).remarks)


def test_segments_of_a_long_file_keep_their_places(folder):
    path = folder / "long.wav"
    parts = [padded(speechlike(4.0, RATE_HZ, 130.0), 0.5, 0.5) for _ in range(4)]
    soundfile.write(path, np.concatenate(parts), RATE_HZ)
    segments = [
        make(folder, "kai", n, 4.5, audio_path=path, start_seconds=5.0 * n, duration_seconds=5.0)
        for n in range(1, 4)
    ]
    protocol = replace(
        read_protocol("naturalspeech2"),
        data=DataRule(),
        prompts=PromptRule(rule="other-utterance", seconds=(2.0,)),
    )
    for trial in select(protocol, segments).trials:
        (piece,) = trial.prompt
        assert piece.start_seconds % 5.0 == pytest.approx(0.4, abs=0.05)
        assert trial.reference.seconds == 5.0
        assert abs(piece.start_seconds - trial.reference.start_seconds) > 3.0


def test_generated_speech_needs_no_corpus(tmp_path):
    selection = choose(read_protocol("bundled"), None, work=tmp_path)
    assert Counter(trial.speaker for trial in selection.trials) == {
        "anna": 3,
        "bruno": 3,
        "clara": 3,
        "david": 3,
    }
    assert len({read_joined(t.prompt).tobytes() for t in selection.trials}) > 4
    assert choose(read_protocol("bundled"), None, work=tmp_path) == selection
    hard = choose(read_protocol("hard-sentences"), None, work=tmp_path)
    assert len(hard.trials) == 50
    assert {trial.labels["text"] for trial in hard.trials} == {"hard_sentences"}
    with pytest.raises(ConfigError, match="give one with --data"):
        read_utterances(read_protocol("naturalspeech2"), None, work=tmp_path)


def test_ravdess_is_read_as_it_is_distributed(tmp_path):
    sound = padded(speechlike(1.5), 0.1, 0.1)
    for actor in (1, 2):
        place = tmp_path / f"Actor_{actor:02d}"
        place.mkdir()
        for emotion in range(1, 9):
            for statement in (1, 2):
                for repetition in (1, 2):
                    strength = 1 if emotion == 1 else 2
                    code = f"03-01-{emotion:02d}-{strength:02d}-{statement:02d}-{repetition:02d}"
                    soundfile.write(place / f"{code}-{actor:02d}.wav", sound, RATE_HZ)
    selection = choose(read_protocol("ravdess"), tmp_path, kind="ravdess", work=tmp_path)
    assert len(selection.trials) == 16
    assert "2 speakers instead of 24" in selection.remarks
    assert set(selection.gallery.groups.values()) == {"female", "male"}
    prompts = {piece.path for trial in selection.trials for piece in trial.prompt}
    assert not prompts & {p.path for given in selection.gallery.speech.values() for p in given}
    assert len(choose(read_protocol("ravdess"), tmp_path, limit=4, work=tmp_path).trials) == 4
