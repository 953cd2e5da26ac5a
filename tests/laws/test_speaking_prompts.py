"""What a prompt does to a text of any length: its transcript, its length, what goes on from it."""

import numpy as np
import pytest
from sines import RATE, SineSynthesizer, babble
from tinyvalle import tiny_synthesizer

from parlando.contracts import TextError
from parlando.speaking import CHUNK_SECONDS, Speaker
from parlando.text.vocabulary import is_phone

THREE_PIECES = "A sentence goes on here, longer than a short one. " * 12


class Continuing(SineSynthesizer):
    """Remembers which pieces were to go on in the sentence of the prompt."""

    option_names = SineSynthesizer.option_names | {"continuation"}

    def __init__(self):
        super().__init__()
        self.continued = []

    def render(self, symbols, prompt, options, generator):
        self.continued.append(options.continuation)
        return super().render(symbols, prompt, options, generator)


@pytest.mark.parametrize("length", [{}, {"duration_seconds": 60.0}])
def test_only_the_first_piece_goes_on_in_the_sentence_of_the_prompt(length):
    system = Continuing()
    Speaker(system).speak(THREE_PIECES, (babble(3.0), RATE), seed=1, **length, continuation=True)
    assert len(system.continued) >= 3
    assert system.continued == [True] + [False] * (len(system.continued) - 1)


@pytest.mark.parametrize("continuation", [False, True])
@pytest.mark.parametrize("group", [1, 2])
def test_a_short_text_is_spoken_after_a_prompt_many_times_its_length(group, continuation):
    synthesizer = tiny_synthesizer(group=group)
    prompt = (babble(12.0), RATE)
    speech = Speaker(synthesizer).speak("Hi.", prompt, seed=2, continuation=continuation)
    phones = sum(map(is_phone, speech.phonemes))
    assert phones == 2
    frames = len(speech.samples) // speech.hop_samples
    assert 2 * phones <= frames <= 20 * phones + 80 < 12.0 * RATE / speech.hop_samples
    assert np.isfinite(speech.samples).all()
    assert np.abs(speech.samples).max() > 0.0


@pytest.mark.parametrize("text", ["", " ", "?!"])
def test_an_empty_transcript_is_refused_by_its_name(text):
    speaker = Speaker(tiny_synthesizer())
    with pytest.raises(TextError, match=r"^voice_text: .*or leave it out$") as caught:
        speaker.stream("Hello.", (babble(2.0), RATE), voice_text=text)
    assert "\n" not in str(caught.value)


def test_chunks_are_taken_where_there_are_any_and_one_candidate():
    chunks = {"chunk_seconds": CHUNK_SECONDS}
    valle, sines = Speaker(tiny_synthesizer()), Speaker(SineSynthesizer())
    assert valle.in_chunks({}) == chunks
    assert valle.in_chunks({"best_of": 1}) == {"best_of": 1, **chunks}
    assert valle.in_chunks({"best_of": 5}) == {"best_of": 5}
    assert valle.in_chunks({"chunk_seconds": 0.3}) == {"chunk_seconds": 0.3}
    assert sines.in_chunks({"steps": 4}) == {"steps": 4}
