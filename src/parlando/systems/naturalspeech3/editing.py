"""Parts of a recording made anew with NaturalSpeech 3.

Source: NaturalSpeech 3, section 3.3 (partial noising), and masked diffusion as it is: what stays is
given, and the rest is drawn around it. Choice: what stays is the prompt, on both sides of the
change, and guidance leaves it out as it leaves out a prompt.
"""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from parlando.audio.pitch import f0
from parlando.codecs.codes import timbre_of
from parlando.contracts import Revision, SpeakOptions, Utterance
from parlando.systems.naturalspeech3.sampling import Sampler
from parlando.systems.naturalspeech3.sequences import split_long
from parlando.systems.naturalspeech3.synthesis import NaturalSpeech3Synthesizer


@dataclass(frozen=True)
class _Symbols:
    """Symbols, of which long ones are several: the ``origin`` ``(M,)`` of each among the given,
    and its ``frames`` ``(M,)``, 0 where they are not known."""

    origin: Tensor
    frames: Tensor


class NaturalSpeech3Editor:
    """A NaturalSpeech 3 as an ``Editor``.

    Args:
        synthesizer: the networks and the codec.
    """

    option_names = frozenset(
        ("steps", "duration_steps", "guidance", "guidance_rescale", "temperature", "top_k")
    )

    def __init__(self, synthesizer: NaturalSpeech3Synthesizer):
        self.synthesizer = synthesizer
        self.name = synthesizer.name
        self.rate_hz = synthesizer.rate_hz
        self.hop_samples = synthesizer.hop_samples
        self.context_frames = synthesizer.model.config.longest_prompt_frames

    @torch.inference_mode()
    def edit(
        self, waveform: Tensor, revision: Revision, options: SpeakOptions, generator: Generator
    ) -> Utterance:
        """Draw what is new between what stays, and decode all of it.

        The prosody of new phones, their durations where they are free, then each level of the
        frames: 60 evaluations by default, however many changes there are.

        Args:
            waveform: ``(S,)`` at ``rate_hz``, the recording, S a multiple of the hop.
            revision: what is said in it and what is to be said.
            options: steps, guidance and randomness.
            generator: on the CPU, so that a seed means the same everywhere.
        """
        own = self.synthesizer
        heard = waveform[None].to(own.device)
        old = self._split(revision.durations_frames)
        new = self._split(tuple(frames or 0 for frames in revision.new_durations_frames))
        # A symbol that stays has the duration it had, and so as many parts.
        sources = [source for source in revision.sources if source is not None]
        staying = torch.isin(old.origin, torch.tensor(sources, device=own.device))
        kept = self._of(new, [source is not None for source in revision.sources])
        timed = self._of(new, [frames is not None for frames in revision.new_durations_frames])

        codes = own.codec.encode(heard)[:, : own.model.config.levels]
        prosody = torch.zeros_like(new.frames)
        prosody[kept] = own.prosody_of(codes, old.frames[None])[0, staying]
        targets = [[revision.new_symbols[place] for place in new.origin.tolist()]]
        sampler = own.sampler(targets, options, [generator], kept[None])
        durations = self._durations(sampler, targets, prosody, new.frames, timed)

        mask = torch.ones_like(durations).repeat_interleave(durations[0], dim=1).bool()
        whole = codes.new_zeros(1, codes.shape[1], mask.shape[1])
        before = staying.repeat_interleave(old.frames)
        whole[..., sampler.kept_frames(durations, mask)[0]] = codes[..., before]
        for level in range(whole.shape[1]):
            whole[:, level] = sampler.draw_level(level, None, durations, whole, mask)
        samples = own.decode(whole[0], timbre_of(own.codec, heard)).cpu().numpy()
        lengths = torch.zeros(len(revision.new_symbols), dtype=torch.long)
        lengths.scatter_add_(0, new.origin.cpu(), durations[0].cpu())
        return Utterance(
            samples=samples,
            symbols=revision.new_symbols,
            durations_frames=tuple(lengths.tolist()),
            f0_hz=f0(samples, self.rate_hz, self.hop_samples)[0],
        )

    def _durations(
        self,
        sampler: Sampler,
        targets: list[list[str]],
        prosody: Tensor,
        frames: Tensor,
        timed: Tensor,
    ) -> Tensor:
        """Draw the prosody of symbols, then their frames, ``(1, N)``."""
        own = self.synthesizer
        if own.model.config.phone_prosody:
            given = torch.stack([prosody, frames])[None]
            prosody = sampler.draw_prosody(None, given)[0]
        least, longest = own.limits(targets)
        return sampler.draw_durations(
            None, prosody[None], least, longest, frames[None], timed[None]
        )

    def _split(self, frames: tuple[int, ...]) -> _Symbols:
        """Part symbols that are longer than any class."""
        given = torch.tensor([frames], device=self.synthesizer.device)
        real = torch.ones_like(given, dtype=torch.bool)
        longest = self.synthesizer.model.config.longest_phone_frames
        origin, parts, _ = split_long(given, real, longest)
        return _Symbols(origin[0], parts[0])

    def _of(self, symbols: _Symbols, flags: list[bool]) -> Tensor:
        return torch.tensor(flags, device=self.synthesizer.device)[symbols.origin]
