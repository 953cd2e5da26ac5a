"""Whose voice a conversion has, with an encoder that knows the truth; and who is converted."""

import dataclasses
import pickle
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from speechlike import padded, speechlike
from test_evaluation_voice import PitchEncoder, likeness, tone

from parlando.audio.waveform import save
from parlando.contracts import ConfigError, PromptError
from parlando.data.corpora import Recording as Utterance
from parlando.evaluation.conversion import Conversion
from parlando.evaluation.intelligibility import Phones, reference_phones
from parlando.evaluation.makers import ConversionMaker
from parlando.evaluation.measure import Gallery, Recording, Row, Sample, Trial, figures_of
from parlando.evaluation.voice_pairs import conversion_pairs

RATE = 16_000
TEXT = "Seven ships sail away."


@dataclass
class Converted:
    samples: np.ndarray
    rate_hz: int = RATE
    compute_seconds: float = 0.1


class Halfway:
    """Speaks at the mean of the strongest frequencies of source and voice."""

    name = "halfway"

    def convert(self, source, voice):
        hertz = [
            float(np.argmax(np.abs(np.fft.rfft(s, RATE)[50:])) + 50) for s, _ in (source, voice)
        ]
        return Converted(tone(sum(hertz) / 2, len(source[0]) / RATE))


class Mute(Halfway):
    """Refuses voices, as real ones do with too short a one."""

    def convert(self, source, voice):
        raise PromptError("holds 0.4 s")


class Ears:
    """Hears all phones of the text, and one too many below 150 Hz."""

    rate_hz, hop_samples = RATE, 200

    def recognize(self, waveform):
        spectrum = np.abs(np.fft.rfft(waveform.numpy(), RATE))
        low = np.argmax(spectrum[50:]) + 50 < 150
        return [*reference_phones(TEXT), *(reference_phones(TEXT)[:1] if low else [])]


def measure(gallery=None, converter=Halfway):
    return Conversion(PitchEncoder, Phones(Ears, "ears"), gallery, converter)


@pytest.fixture
def sample(tmp_path):
    save(tmp_path / "other.wav", tone(215.0), RATE)
    trial = Trial(id="x", speaker="anna", text=TEXT, reference_speaker="carl")
    return Sample(trial=trial, output=tone(180.0), prompt=tone(200.0), reference=tone(100.0))


def gallery_in(folder: Path) -> Gallery:
    return Gallery(speech={"anna": (Recording(path=folder / "other.wav"),)})


def test_an_output_is_set_between_target_and_source(sample, tmp_path):
    judged = measure(gallery_in(tmp_path)).judge(sample)
    values = {key: top / bottom for key, (top, bottom) in judged.values.items()}
    assert values["nearer_target"] == 1.0
    assert values["sim_target"] == likeness(180.0, 200.0)
    assert values["sim_source"] == likeness(180.0, 100.0)
    # The ceiling is the target's other speech, the floor the source through the same converter.
    assert values["sim_target_human"] == likeness(215.0, 200.0)
    assert values["nearer_target_human"] == 1.0
    assert values["sim_source_resynthesis"] == likeness(100.0, 100.0)
    assert values["nearer_target_resynthesis"] == 0.0
    # Beside those other recordings, of 215 Hz, the ceiling is the prompt.
    assert values["nearer_elsewhere"] == 1.0
    assert values["nearer_elsewhere_human"] == 1.0
    assert values["nearer_elsewhere_resynthesis"] == 0.0
    assert values["per_resynthesis"] == pytest.approx(1.0 / len(reference_phones(TEXT)))


def test_what_an_output_shares_with_the_prompt_alone_is_not_the_target_elsewhere(sample, tmp_path):
    """The target's other recordings, at 215 Hz, are further away than the prompt, at 200 Hz."""
    sample = dataclasses.replace(sample, output=tone(155.0))
    values = measure(gallery_in(tmp_path)).judge(sample).values
    assert (values["nearer_target"], values["nearer_elsewhere"]) == ((1.0, 1), (0.0, 1))


@pytest.mark.parametrize(("hertz", "nearer"), [(149.0, 0.0), (151.0, 1.0)])
def test_the_border_lies_halfway(sample, hertz, nearer):
    judged = measure().judge(dataclasses.replace(sample, output=tone(hertz)))
    assert judged.values["nearer_target"] == (nearer, 1)
    assert not any(key.endswith("_human") for key in judged.values)


def test_silence_is_nearer_to_nobody(sample):
    judged = measure().judge(dataclasses.replace(sample, output=np.zeros(RATE, np.float32)))
    assert judged.values["nearer_target"] == (0.0, 1)
    assert judged.values["sim_target"] == (0.0, 1)


def test_files_have_no_resynthesis_and_no_text_no_phones(sample, tmp_path):
    judged = measure(gallery_in(tmp_path), None).judge(sample)
    assert set(judged.values) == {
        f"{key}{ending}"
        for key in ("nearer_target", "nearer_elsewhere", "sim_target", "sim_source")
        for ending in ("", "_human")
    }
    untold = dataclasses.replace(sample, trial=dataclasses.replace(sample.trial, text=None))
    assert "per_resynthesis" not in measure().judge(untold).values
    assert measure().judge(dataclasses.replace(sample, prompt=None)).values == {}


def test_figures_stand_between_ceiling_and_floor_and_travel(sample, tmp_path):
    judge = pickle.loads(pickle.dumps(measure(gallery_in(tmp_path))))
    rows = [Row(trial=sample.trial, values=judge.judge(sample).values)]
    found = {figure.quantity.key: figure for figure in figures_of(rows, judge.quantities)}
    assert (found["nearer_target"].human, found["nearer_target"].control) == (1.0, 0.0)
    with pytest.raises(PromptError, match="the source as a voice of its own: holds"):
        measure(converter=Mute).judge(sample)


def test_a_converter_gets_the_source_and_the_prompt():
    maker = ConversionMaker(Halfway, name="halfway", fingerprint="1")
    made = maker.make(Trial(id="x"), tone(300.0), tone(100.0, 2.0))
    np.testing.assert_allclose(made.samples, tone(200.0, 2.0))
    assert made.details == {"rate_hz": RATE, "wall_seconds": 0.1}
    with pytest.raises(ConfigError, match="needs a recording to convert and a voice"):
        maker.make(Trial(id="x"), None, tone(100.0))
    other = ConversionMaker(Halfway, name="halfway", fingerprint="2")
    assert maker.fingerprint(Trial(id="x")) != other.fingerprint(Trial(id="x"))


SEXES = {"ann": "female", "bea": "female", "carl": "male", "dan": "male", "emma": None}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Five test speakers, the last of one clip without a text; and one who was trained on."""
    folder = tmp_path_factory.mktemp("pairs")
    made = []
    for place, (name, sex) in enumerate((*SEXES.items(), ("zoe", "female"))):
        pitch = 100.0 if sex == "male" else 210.0
        for number in range(1 if name == "emma" else 3):
            path = folder / f"{name}{number}.wav"
            seconds = 7.0 if name == "emma" else 2.2 + 0.1 * number
            save(path, padded(speechlike(seconds, pitch_hz=pitch + place), 0.2, 0.2), RATE)
            made.append(
                Utterance(
                    id=f"{name}/{number}",
                    audio_path=path,
                    text=None if name == "emma" else f"{name} says {number}.",
                    speaker=name,
                    source="s",
                    split="train" if name == "zoe" and number == 0 else "test",
                    sex=sex,
                )
            )
    return made


def test_half_of_the_pairs_are_of_one_sex_and_all_of_unseen_speakers(corpus):
    chosen = conversion_pairs(corpus, pairs=16)
    pairs = [(t.reference_speaker, t.speaker) for t in chosen.trials]
    sexes = {**SEXES, "emma": "female"}  # as her pitch says
    alike = [sexes[source] == sexes[target] for source, target in pairs]
    assert alike == [number % 2 == 0 for number in range(16)]
    labels = Counter(trial.labels["pair"] for trial in chosen.trials)
    assert labels == {"one sex": 8, "two sexes": 8}
    assert all(source != target for source, target in pairs)
    assert "zoe" not in {name for pair in pairs for name in pair}
    # Sources take turns; who has no text is a target only.
    assert set(Counter(source for source, _ in pairs).values()) == {4}
    assert "emma" in {target for _, target in pairs}
    assert all(
        trial.text and trial.text.startswith(trial.reference_speaker) for trial in chosen.trials
    )
    assert len({trial.id for trial in chosen.trials}) == 16
    told = " ".join(chosen.remarks)
    assert "1 speakers of split test are left out: trained on" in told
    assert "the sex of 1 of 5 targets is judged by their pitch" in told


def test_no_pair_comes_twice_while_there_are_others(corpus):
    one, two = conversion_pairs(corpus, pairs=8), conversion_pairs(corpus, pairs=8)
    assert one == two
    assert conversion_pairs(corpus, pairs=8, seed=1) != one
    met = Counter(
        (t.reference_speaker, t.speaker) for t in one.trials if t.labels["pair"] != "one sex"
    )
    assert max(met.values()) == 1


def test_prompts_are_apart_from_what_the_ceiling_rests_on(corpus):
    chosen = conversion_pairs(corpus, pairs=8)
    for trial in chosen.trials:
        seconds = sum(piece.seconds for piece in trial.prompt)
        assert 3.0 <= seconds <= 6.0
        other = chosen.gallery.speech[trial.speaker]
        for piece in trial.prompt:
            for kept in (one for one in other if one.path == piece.path):
                assert kept.start_seconds >= piece.start_seconds + piece.seconds
        assert trial.reference.path not in {piece.path for piece in (*trial.prompt, *other)}


def test_a_corpus_without_pairs_is_refused(corpus):
    with pytest.raises(ConfigError, match="no recording of split dev, the corpus has test, train"):
        conversion_pairs(corpus, split="dev")
    women = [item for item in corpus if item.sex == "female"]
    with pytest.raises(ConfigError, match="no pair of two sexes among 2 speakers"):
        conversion_pairs(women)
    with pytest.raises(ConfigError, match="1 pairs; give 2 or more"):
        conversion_pairs(corpus, pairs=1)
