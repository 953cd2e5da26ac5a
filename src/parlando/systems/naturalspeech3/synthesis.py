"""Speech from symbols and prompts with NaturalSpeech 3.

Source: NaturalSpeech 3, section 3.3 and figure 1: prosody and durations of phones, codes of frames
level by level, timbre read off the prompt, the codec.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from parlando.aligner.prompts import PhoneReader, read_prompt
from parlando.audio.pitch import f0
from parlando.codecs.codes import AnyCodec, decode_codes, timbre_of
from parlando.codecs.facodec.model import FACodec
from parlando.contracts import PromptError, SpeakOptions, Utterance
from parlando.data.batching import mask_of, pad
from parlando.nn.durations import fit_durations
from parlando.nn.factorized import sphere
from parlando.systems.naturalspeech3.model import NaturalSpeech3
from parlando.systems.naturalspeech3.sampling import NaturalSpeech3Voice, Sampler, Settings
from parlando.systems.naturalspeech3.sequences import phone_prosody, split_long
from parlando.text import vocabulary

LONGEST_PHONE_SECONDS = 0.6
"""No longer phone is drawn, and no pause of more than twice this."""


@dataclass(frozen=True)
class NaturalSpeech3Prompt:
    """Whose speech each process reads: usually the same for all."""

    content: NaturalSpeech3Voice
    duration: NaturalSpeech3Voice
    prosody: NaturalSpeech3Voice
    """Of phones and of frames."""
    timbre: NaturalSpeech3Voice
    """Of the codec's vector, and of detail, in which some timbre is left."""


class NaturalSpeech3Synthesizer:
    """Text-to-speech with the networks of NaturalSpeech 3 and a codec.

    Args:
        model: trained networks.
        codec: the codec whose codes they were trained on.
        phones: reads prompts without a transcript, and times those with one.
        name: of the released weights.
    """

    option_names = frozenset(
        (
            "steps", "duration_steps", "guidance", "guidance_rescale", "temperature", "top_k",
            "speed", "duration_seconds", "voice_text",
        )
    )  # fmt: skip

    def __init__(
        self,
        model: NaturalSpeech3,
        codec: AnyCodec,
        phones: PhoneReader,
        *,
        name: str,
    ):
        self.model = model.eval()
        self.codec = codec.eval()
        self.phones = phones
        self.name = name
        self.rate_hz = codec.rate_hz
        self.hop_samples = codec.hop_samples
        self.levels_of = codec.levels_of if isinstance(codec, FACodec) else {}
        # Codes that are not factorized are all read off one prompt.
        self.attributes = frozenset(
            ("duration", *(("prosody", "timbre") if self.levels_of else ()))
        )

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.model.place.weight.device

    @torch.inference_mode()
    def encode_prompt(
        self, waveform: Tensor, symbols: Sequence[str] | None = None
    ) -> NaturalSpeech3Prompt:
        """Encode a prompt, which all processes then read.

        Args:
            waveform: ``(S,)`` at ``rate_hz`` in [-1, 1].
            symbols: what is said in it; without them the phone recogniser tells.

        Raises:
            PromptError: there is no phone in it, or the transcript is not what is said.
        """
        whole = waveform[: len(waveform) // self.hop_samples * self.hop_samples].to(self.device)
        symbols, durations = read_prompt(self.phones, whole, symbols)
        if sum(durations) * self.hop_samples != len(whole):
            raise PromptError(
                f"{len(symbols)} symbols do not fit into {len(whole) / self.rate_hz:.1f} s of "
                "prompt; give a longer one"
            )
        voice = self.voice_of(symbols, durations, whole)
        return NaturalSpeech3Prompt(voice, voice, voice, voice)

    @torch.inference_mode()
    def voice_of(
        self, symbols: Sequence[str], durations: Sequence[int], waveform: Tensor
    ) -> NaturalSpeech3Voice:
        """Encode speech of which is known what is said when; of a long one the first part.

        Args:
            symbols: M of them.
            durations: frames of each, which sum to those of the waveform.
            waveform: ``(S,)``, S a multiple of the hop, on the device of the networks.
        """
        config = self.model.config
        ids = torch.tensor(vocabulary.encode(symbols), device=self.device)
        frames = torch.tensor([list(durations)], device=self.device)
        source, frames, _ = split_long(
            frames, torch.ones_like(frames, dtype=torch.bool), config.longest_phone_frames
        )
        ids, frames = ids[source[0]], frames[0]
        codes = self.codec.encode(waveform[None])[:, : config.levels]
        kept = int((frames.cumsum(0) <= config.longest_prompt_frames).sum())
        ids, frames = ids[:kept], frames[:kept]
        codes = codes[..., : int(frames.sum())]
        prosody = self.prosody_of(codes, frames[None])[0]
        timbre = timbre_of(self.codec, waveform[None])
        return NaturalSpeech3Voice(ids, frames, prosody, codes[0], timbre)

    def prosody_of(self, codes: Tensor, frames: Tensor) -> Tensor:
        """Tell the prosody of phones, where the model draws it; it is 0 otherwise.

        Args:
            codes: ``(B, Q, T)``.
            frames: ``(B, N)`` frames of each symbol, T in all.

        Returns:
            ``(B, N)`` int64.
        """
        if not isinstance(self.codec, FACodec) or not self.model.config.phone_prosody:
            return torch.zeros_like(frames)
        entries = sphere(self.codec.quantizer("prosody").codebooks[0])
        real = torch.ones_like(codes[:, 0], dtype=torch.bool)
        return phone_prosody(codes[:, 0], frames, real, entries)

    def blend(
        self, prompt: NaturalSpeech3Prompt, **others: NaturalSpeech3Prompt
    ) -> NaturalSpeech3Prompt:
        """Take single attributes from other prompts; they may be of other lengths.

        Source: NaturalSpeech 3, section 4 (attribute manipulation).

        Args:
            prompt: of all else.
            others: by the names in ``attributes``.
        """
        return replace(prompt, **{name: getattr(other, name) for name, other in others.items()})

    def render(
        self,
        symbols: Sequence[str],
        prompt: NaturalSpeech3Prompt,
        options: SpeakOptions,
        generator: Generator,
    ) -> Utterance:
        """Speak one piece of text.

        Args:
            symbols: vocabulary symbols; a boundary is added at each end where none is.
            prompt: from :meth:`encode_prompt` or :meth:`blend`.
            options: steps, guidance, randomness, speed.
            generator: on the CPU, so that a seed means the same everywhere.

        Raises:
            TextError: there is no phone among the symbols.
        """
        return self.render_batch([symbols], prompt, options, [generator])[0]

    @torch.inference_mode()
    def render_batch(
        self,
        texts: Sequence[Sequence[str]],
        prompt: NaturalSpeech3Prompt,
        options: SpeakOptions,
        generators: Sequence[Generator],
    ) -> list[Utterance]:
        """Speak several pieces at once, each as it would be by itself with its generator."""
        targets = [vocabulary.with_boundaries(text) for text in texts]
        sampler = self.sampler(targets, options, generators)
        durations = self._durations(sampler, targets, prompt, options)
        lengths = durations.sum(1).tolist()
        mask = mask_of(lengths).to(self.device)
        codes = durations.new_zeros(len(targets), self.model.config.levels, mask.shape[1])
        for level in range(codes.shape[1]):
            codes[:, level] = sampler.draw_level(
                level, self.reads(prompt, level), durations, codes, mask
            )
        made = []
        for row, (target, length) in enumerate(zip(targets, lengths, strict=True)):
            samples = self.decode(codes[row, :, :length], prompt.timbre.timbre)
            sound = samples.cpu().numpy()
            made.append(
                Utterance(
                    samples=sound,
                    symbols=tuple(target),
                    durations_frames=tuple(durations[row, : len(target)].tolist()),
                    f0_hz=f0(sound, self.rate_hz, self.hop_samples)[0],
                )
            )
        return made

    def sampler(
        self,
        targets: Sequence[Sequence[str]],
        options: SpeakOptions,
        generators: Sequence[Generator],
        kept: Tensor | None = None,
    ) -> Sampler:
        """Make ready to draw what texts, with their boundaries, sound like; see ``Sampler``."""
        ids = [torch.tensor(vocabulary.encode(target)) for target in targets]
        return Sampler(
            self.model,
            pad(ids).to(self.device),
            mask_of([len(each) for each in ids]).to(self.device),
            self._settings(options),
            generators,
            kept,
        )

    def reads(self, prompt: NaturalSpeech3Prompt, level: int) -> NaturalSpeech3Voice:
        """Tell which prompt a level of frames reads."""
        for name, voice in (("prosody", prompt.prosody), ("detail", prompt.timbre)):
            levels = self.levels_of.get(name, slice(0, 0))
            if levels.start <= level < levels.stop:
                return voice
        return prompt.content

    def decode(self, codes: Tensor, timbre: Tensor | None) -> Tensor:
        """Decode ``(Q, T)`` in a timbre, where the codec has one, to ``(T * hop,)`` in [-1, 1]."""
        return decode_codes(self.codec, codes[None], timbre)[0]

    def limits(self, targets: Sequence[Sequence[str]]) -> tuple[Tensor, Tensor]:
        """Return the least and most frames of each symbol, ``(B, N)``: phones have one at least."""
        per_second = self.rate_hz / self.hop_samples
        most = self.model.config.longest_phone_frames
        longest = min(most, round(LONGEST_PHONE_SECONDS * per_second))
        pauses = [torch.tensor([vocabulary.is_pause(s) for s in target]) for target in targets]
        pause = pad(pauses).to(self.device)
        least = (~pause).long()
        return least, torch.where(pause, min(most, 2 * longest), longest)

    def _durations(
        self,
        sampler: Sampler,
        targets: Sequence[Sequence[str]],
        prompt: NaturalSpeech3Prompt,
        options: SpeakOptions,
    ) -> Tensor:
        """Draw the frames of symbols, ``(B, N)``, fitted to speed or total length."""
        prosody = torch.zeros_like(sampler.symbols)
        if self.model.config.phone_prosody:
            prosody = sampler.draw_prosody(prompt.prosody)
        least, longest = self.limits(targets)
        drawn = sampler.draw_durations(prompt.duration, prosody, least, longest)
        least = least * sampler.mask
        if options.duration_seconds is not None:
            wanted = round(options.duration_seconds * self.rate_hz / self.hop_samples)
            return torch.stack(
                [
                    fit_durations(frames.cpu(), floor.cpu(), max(wanted, int(floor.sum())))
                    for frames, floor in zip(drawn, least, strict=True)
                ]
            ).to(drawn)
        return (drawn / options.speed).round().long().maximum(least)

    def _settings(self, options: SpeakOptions) -> Settings:
        config, own = self.model.config, self.model.config.sampling
        steps = own.steps if options.steps is None else options.steps
        sampling = replace(
            own,
            steps=steps,
            top_k=own.top_k if options.top_k is None else options.top_k,
            temperature=own.temperature if options.temperature is None else options.temperature,
        )
        guidance, rescale = options.guidance, options.guidance_rescale
        return Settings(
            sampling=sampling,
            duration_steps=options.duration_steps or steps,
            guidance=config.guidance if guidance is None else guidance,
            rescale=config.guidance_rescale if rescale is None else rescale,
        )
