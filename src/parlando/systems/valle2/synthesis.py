"""Speech from symbols and a prompt with VALL-E 2.

Source: VALL-E 2, section 3 (inference): the text of the prompt before the text to speak, the
prompt's codes before those to draw; the first level group by group, the others by their likeliest
codes; the codec.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Generator, Tensor

from parlando.aligner.prompts import PhoneReader, read_prompt
from parlando.audio.pitch import f0
from parlando.codecs.codes import AnyCodec, decode_codes, timbre_of
from parlando.contracts import ConfigError, PromptError, SpeakOptions, TextError, Utterance
from parlando.data.batching import mask_of, pad
from parlando.generative.autoregression import Group, Sampling, decode, recent_codes
from parlando.generative.guidance import guide
from parlando.systems.valle2.model import VALLE2
from parlando.systems.valle2.streaming import (
    FIRST_CHUNK_FRAMES,
    LOOKAHEAD_FRAMES,
    Chunks,
    finer_levels,
)
from parlando.text import vocabulary

SHORTEST_FRAMES = 2
"""A phone lasts 25 ms at least: before so many codes for each, the end is hidden."""
LONGEST_FRAMES, LONGEST_MORE_FRAMES = 20, 80
"""Codes for each phone, and for pauses in all, at which speech is cut: 0.25 s each, and 1 s."""
SIMILAR_ENOUGH = 0.3
"""Best of n: any likeness from here on is good enough (as the paper sorts five)."""

Scorer = Callable[[np.ndarray, Sequence[str], np.ndarray], tuple[float, float]]
"""Samples ``(S,)``, the symbols that they should say and the prompt's samples to likeness and
intelligibility, both better when higher."""


@dataclass(frozen=True)
class VALLE2Voice:
    """A prompt, whole.

    ``codes`` ``(Q, P)``, the ``symbols`` that they say and the frames of each, P in all;
    ``samples`` ``(S,)`` is what was heard; ``timbre`` ``(1, W)``, none where the codec has none.
    """

    codes: Tensor
    symbols: tuple[str, ...]
    durations_frames: tuple[int, ...]
    samples: np.ndarray
    timbre: Tensor | None = None


@dataclass(frozen=True)
class Heard:
    """The part of a prompt that is read: ``codes`` ``(Q, P)`` in whole groups, and ``symbols``."""

    codes: Tensor
    symbols: tuple[str, ...]


@dataclass(frozen=True)
class FirstLevel:
    """First-level codes ``(T,)`` of one item, whether they were cut, and candidates replaced."""

    codes: Tensor
    cut: bool
    replaced: int


@dataclass(frozen=True)
class Sound:
    """Samples ``(S,)``, the symbols that they should say, and the codes that they are made of."""

    samples: Tensor
    symbols: Sequence[str]
    first: FirstLevel


class VALLE2Synthesizer:
    """Text-to-speech with the networks of VALL-E 2 and a codec.

    Args:
        model: trained networks.
        codec: the codec whose codes they were trained on.
        phones: reads prompts without a transcript, and times what was spoken.
        name: of the released weights.
        scorer: judges candidates; needed for ``best_of`` above 1 only.
    """

    option_names = frozenset(
        (
            "temperature", "guidance", "top_p", "repetition_window", "repetition_threshold",
            "exclude_repeated", "end_threshold", "best_of", "voice_text", "continuation",
            "chunk_seconds",
        )
    )  # fmt: skip

    def __init__(
        self,
        model: VALLE2,
        codec: AnyCodec,
        phones: PhoneReader,
        *,
        name: str,
        scorer: Scorer | None = None,
    ):
        self.model = model.eval()
        self.codec = codec.eval()
        self.phones = phones
        self.name = name
        self.scorer = scorer
        self.rate_hz = codec.rate_hz
        self.hop_samples = codec.hop_samples

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(self.codec.parameters()).device

    @torch.inference_mode()
    def encode_prompt(self, waveform: Tensor, symbols: Sequence[str] | None = None) -> VALLE2Voice:
        """Encode a prompt.

        Args:
            waveform: ``(S,)`` at ``rate_hz`` in [-1, 1].
            symbols: what is said in it; without them the phone recogniser tells.

        Raises:
            PromptError: there is no phone in it, or the transcript is not what is said.
        """
        whole = waveform[: len(waveform) // self.hop_samples * self.hop_samples].to(self.device)
        symbols, durations = read_prompt(self.phones, whole, symbols)
        codes = self.model.ordered(self.codec.encode(whole[None]))[0]
        return VALLE2Voice(
            codes,
            tuple(symbols),
            _placed(durations, codes.shape[1]),
            waveform.cpu().numpy(),
            timbre_of(self.codec, whole[None]),
        )

    def render(
        self,
        symbols: Sequence[str],
        prompt: VALLE2Voice,
        options: SpeakOptions,
        generator: Generator,
    ) -> Utterance:
        """Speak one piece of text; with ``best_of`` the best of several candidates.

        Source: VALL-E 2, section 4 (five-time sampling): sorted by min(similarity, 0.3), then
        intelligibility.

        Args:
            symbols: vocabulary symbols; a boundary is added at each end where none is.
            prompt: from :meth:`encode_prompt`.
            options: sampling, guidance, best of n.
            generator: its seeds are those of the candidates: the first is what ``best_of=1`` gives.

        Raises:
            TextError: there is no phone among the symbols, or too many for this model.
            PromptError: there is no phone in the part of the prompt that is read.
            ConfigError: best of n is wanted, and there is nothing to judge by.
        """
        scorer = self.scorer
        if options.best_of > 1 and scorer is None:
            raise ConfigError(
                f"{self.name} was loaded without judges, which best_of needs; install them with: "
                "pip install 'parlando[evaluate]'"
            )
        generators = _generators(generator, options.best_of)
        made = self._sounds([symbols] * options.best_of, prompt, options, generators)
        if scorer is None or len(made) == 1:
            return self._timed(made[0])

        def rank(candidate: Sound) -> tuple[float, float]:
            samples = candidate.samples.cpu().numpy()
            likeness, intelligible = scorer(samples, symbols, prompt.samples)
            return min(likeness, SIMILAR_ENOUGH), intelligible

        return self._timed(max(made, key=rank))

    def render_batch(
        self,
        texts: Sequence[Sequence[str]],
        prompt: VALLE2Voice,
        options: SpeakOptions,
        generators: Sequence[Generator],
    ) -> list[Utterance]:
        """Speak several pieces at once, each as it would be by itself with its generator."""
        return [self._timed(each) for each in self._sounds(texts, prompt, options, generators)]

    @torch.inference_mode()
    def _sounds(
        self,
        texts: Sequence[Sequence[str]],
        prompt: VALLE2Voice,
        options: SpeakOptions,
        generators: Sequence[Generator],
    ) -> list[Sound]:
        targets = [vocabulary.with_boundaries(text) for text in texts]
        part = self._heard(prompt, options.continuation)
        ids, mask = self._texts(targets, part)
        first = self._first_level(targets, ids, mask, part, options, generators)
        heard = part.codes.shape[1]
        lengths = [heard + len(item.codes) for item in first]
        codes = ids.new_zeros(len(first), self.model.levels, max(lengths))
        codes[:, :, :heard] = part.codes
        for row, item in enumerate(first):
            codes[row, 0, heard : lengths[row]] = item.codes
        frames = mask_of(lengths).to(self.device)
        place = torch.arange(codes.shape[2], device=self.device)
        condition = (place < heard).expand_as(frames)
        codes = finer_levels(
            self.model.nonautoregressive, ids, mask, codes, frames, condition, place
        )
        return [
            Sound(self._decode(codes[row, :, heard : lengths[row]], prompt), targets[row], item)
            for row, item in enumerate(first)
        ]

    @torch.inference_mode()
    def stream(
        self,
        symbols: Sequence[str],
        prompt: VALLE2Voice,
        options: SpeakOptions,
        generator: Generator,
    ) -> Iterator[Utterance]:
        """Speak one piece of text in chunks, each yielded while later codes are still unknown.

        The first-level codes are those of :meth:`render` with the same generator. The finer ones of
        a chunk are chosen knowing its past and :data:`LOOKAHEAD_FRAMES` of its future instead of
        all, so that the sound differs a little from that of :meth:`render`; with one chunk for the
        whole it is the same. The last frame comes by itself, with symbols, durations and pitch of
        all: to find them out takes a while, for which nobody shall wait.

        Raises:
            TextError: as for :meth:`render`.
            PromptError: as for :meth:`render`.
            ConfigError: best of n is wanted, which needs whole candidates.
        """
        if options.best_of > 1:
            raise ConfigError("best_of needs whole pieces; leave chunk_seconds or best_of out")
        chunk = max(1, round(options.chunk_seconds * self.rate_hz / self.hop_samples))
        target = vocabulary.with_boundaries(symbols)
        part = self._heard(prompt, options.continuation)
        ids, mask = self._texts([target], part)
        chunks = Chunks(
            self.model.nonautoregressive,
            lambda codes: self._decode(codes, prompt),
            self.hop_samples,
            ids,
            mask,
            part.codes,
        )
        sounds: list[Tensor] = []
        cut, replaced = False, 0
        wanted = min(chunk, FIRST_CHUNK_FRAMES)
        for step in self._steps([target], ids, mask, part, options, _generators(generator, 1)):
            chunks.add(step.codes[0][step.real[0]])
            cut |= bool(step.cut[0])
            replaced += int(step.repeated.sum())
            while chunks.waiting >= wanted + LOOKAHEAD_FRAMES:
                sounds.append(chunks.take(wanted))
                yield _part(sounds[-1])
                wanted = chunk
        sounds.append(chunks.take(chunks.waiting))
        yield _part(sounds[-1][: -self.hop_samples])
        first = FirstLevel(torch.cat(chunks.first), cut, replaced)
        whole = self._timed(Sound(torch.cat(sounds), target, first))
        yield replace(whole, samples=whole.samples[-self.hop_samples :])

    def _heard(self, prompt: VALLE2Voice, continuation: bool) -> Heard:
        """Cut a prompt to what the model reads, between symbols and to whole groups.

        Another sentence reads its beginning. A continuation reads its end but for the last pause,
        so that the two parts of the sentence are as far apart as two words.

        Raises:
            PromptError: there is no phone in that part.
        """
        limit, symbols = self.model.longest_prompt_frames, prompt.symbols
        bounds = np.concatenate([[0], np.cumsum(prompt.durations_frames)])
        first, last = 0, len(symbols)
        if continuation:
            while last and vocabulary.is_pause(symbols[last - 1]):
                last -= 1
            first = int(np.searchsorted(bounds, bounds[last] - limit))
        else:
            last = int(np.searchsorted(bounds, limit, side="right")) - 1
        symbols = symbols[first:last]
        if not any(vocabulary.is_phone(symbol) for symbol in symbols):
            raise PromptError(
                f"no phone is heard in the {'last' if continuation else 'first'} "
                f"{limit * self.hop_samples / self.rate_hz:.1f} s of the prompt, which are read; "
                "cut what is not speech away"
            )
        codes = prompt.codes[:, bounds[first] : bounds[last]]
        return Heard(codes[:, codes.shape[1] % self.model.group :], symbols)

    def _decode(self, codes: Tensor, prompt: VALLE2Voice) -> Tensor:
        """Make the sound ``(T * hop,)`` of ``(Q, T)`` in the timbre of a prompt."""
        codes = self.model.as_in_codec(codes[None])
        return decode_codes(self.codec, codes, prompt.timbre)[0]

    def _texts(self, targets: Sequence[Sequence[str]], prompt: Heard) -> tuple[Tensor, Tensor]:
        """Put what the prompt says before each text: ids ``(B, N)`` and their mask."""
        ids = [torch.tensor(vocabulary.encode([*prompt.symbols, *target])) for target in targets]
        return pad(ids).to(self.device), mask_of([len(each) for each in ids]).to(self.device)

    def _first_level(
        self,
        targets: Sequence[Sequence[str]],
        ids: Tensor,
        mask: Tensor,
        prompt: Heard,
        options: SpeakOptions,
        generators: Sequence[Generator],
    ) -> list[FirstLevel]:
        steps = list(self._steps(targets, ids, mask, prompt, options, generators))
        codes = torch.cat([step.codes for step in steps], dim=1)
        real = torch.cat([step.real for step in steps], dim=1)
        cut = torch.stack([step.cut for step in steps]).any(0)
        replaced = torch.cat([step.repeated for step in steps], dim=1).sum(1)
        return [
            FirstLevel(codes[row][real[row]].to(self.device), bool(cut[row]), int(replaced[row]))
            for row in range(len(targets))
        ]

    def _steps(
        self,
        targets: Sequence[Sequence[str]],
        ids: Tensor,
        mask: Tensor,
        prompt: Heard,
        options: SpeakOptions,
        generators: Sequence[Generator],
    ) -> Iterator[Group]:
        """Draw the first-level codes of all texts, group by group."""
        network, heard = self.model.autoregressive, prompt.codes[0]
        counts = torch.tensor([sum(map(vocabulary.is_phone, target)) for target in targets])
        shortest = SHORTEST_FRAMES * counts
        longest = LONGEST_FRAMES * counts + LONGEST_MORE_FRAMES
        longest = longest.clamp_max(self.model.longest_frames - len(heard))
        if bool((longest < shortest).any()):
            raise TextError(
                f"a piece of {int(counts.max())} phones is too long beside a prompt of "
                f"{len(heard)} frames; shorten the text or the prompt"
            )
        prompts = [heard] * len(targets)
        logits, going = network.start(ids, mask, prompts)

        def advance(codes: Tensor) -> Tensor:
            return network.advance(codes, going)

        strength = self.model.guidance if options.guidance is None else options.guidance
        if strength > 0.0:
            without, other = network.start(ids, mask, prompts, hide=True)
            logits = guide(logits, without, strength)

            def advance(codes: Tensor) -> Tensor:
                with_text = network.advance(codes, going)
                return guide(with_text, network.advance(codes, other), strength)

        sampling = self._sampling(options)
        history = recent_codes(prompts, sampling.repetition_window)
        return decode(
            advance,
            logits,
            history,
            generators,
            end=network.end,
            shortest=shortest,
            longest=longest,
            sampling=sampling,
        )

    def _sampling(self, options: SpeakOptions) -> Sampling:
        window, top_p = options.repetition_window, options.top_p
        least = options.end_threshold
        return Sampling(
            top_p=self.model.top_p if top_p is None else top_p,
            # At 0 the likeliest code: so small a number leaves no odds to the others.
            temperature=1.0 if options.temperature is None else max(options.temperature, 1e-4),
            repetition_window=self.model.repetition_window if window is None else window,
            repetition_threshold=options.repetition_threshold,
            exclude_repeated=options.exclude_repeated,
            end_threshold=self.model.end_threshold if least is None else least,
        )

    @torch.inference_mode()
    def _timed(self, sound: Sound) -> Utterance:
        """Find out when each symbol is spoken, and at what pitch."""
        durations, _ = self.phones.align(sound.samples, sound.symbols)
        samples = sound.samples.cpu().numpy()
        pitch_hz, _ = f0(samples, self.rate_hz, self.hop_samples)
        return Utterance(
            samples=samples,
            symbols=tuple(sound.symbols),
            durations_frames=_placed(durations, len(samples) // self.hop_samples),
            f0_hz=pitch_hz,
            notes={"cut": float(sound.first.cut), "replaced": float(sound.first.replaced)},
        )


def _placed(durations: Sequence[int], frames: int) -> tuple[int, ...]:
    """Share the frames out where the aligner could place nothing: there are more phones."""
    if sum(durations) != frames:
        edges = np.linspace(0, frames, len(durations) + 1).round().astype(int)
        durations = np.diff(edges).tolist()
    return tuple(durations)


def _part(samples: Tensor) -> Utterance:
    return Utterance(
        samples=samples.cpu().numpy(),
        symbols=(),
        durations_frames=(),
        f0_hz=np.zeros(0, dtype=np.float32),
    )


def _generators(generator: Generator, count: int) -> list[Generator]:
    """Seed a generator for each item from one: the first few are the same for any count."""
    seeds = [int(torch.randint(2**62, (), generator=generator)) for _ in range(count)]
    return [Generator().manual_seed(seed) for seed in seeds]
