"""Speech from symbols and a prompt with NaturalSpeech 2.

Source: section 3.2 and figure 1: prompt states, durations, expansion, pitch, diffusion, decoder.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Generator, Tensor

from parlando.audio.phase import integrated_phase
from parlando.audio.pitch import f0
from parlando.codecs.rvq.model import RVQCodec
from parlando.contracts import SpeakOptions, Utterance
from parlando.data.prompts import DEFAULT_LOG_F0
from parlando.generative.diffusion import VPSchedule, sample
from parlando.generative.guidance import guide
from parlando.nn.durations import fit_durations
from parlando.systems.naturalspeech2.model import NaturalSpeech2, PromptStates
from parlando.text import vocabulary

LONGEST_PHONE_SECONDS = 0.6
"""Predicted durations are capped here, pauses at twice this: a runaway never fills a minute."""

TEMPERATURE = 1.0 / 1.2
"""Standard deviation of the initial noise where a call does not say (section 4.1)."""


STEPS = 12
"""Evaluations of the sampler where a call does not say."""


@dataclass(frozen=True)
class NaturalSpeech2Voice:
    """A prompt as the networks read it: ``states`` of one item."""

    states: PromptStates


class NaturalSpeech2Synthesizer:
    """Text-to-speech with the networks of NaturalSpeech 2 and a codec.

    Args:
        model: trained networks.
        codec: the codec on whose latents they were trained.
        name: of the released weights.
        schedule: the diffusion process they were trained with.
    """

    option_names = frozenset(
        ("steps", "solver", "speed", "duration_seconds", "guidance", "temperature")
    )

    def __init__(
        self,
        model: NaturalSpeech2,
        codec: RVQCodec,
        *,
        name: str,
        schedule: VPSchedule | None = None,
    ):
        self.model = model.eval()
        self.codec = codec.eval()
        self.name = name
        self.rate_hz = codec.rate_hz
        self.hop_samples = codec.hop_samples
        self.schedule = schedule or VPSchedule()

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.codec.latent_mean.device

    @torch.inference_mode()
    def encode_prompt(self, waveform: Tensor) -> NaturalSpeech2Voice:
        """Encode a prompt of one second or more.

        Args:
            waveform: ``(S,)`` at ``rate_hz`` in [-1, 1].
        """
        whole = waveform[: len(waveform) // self.hop_samples * self.hop_samples]
        pitch_hz, voiced = f0(whole.cpu().numpy(), self.rate_hz, self.hop_samples)
        log_f0 = float(np.log(pitch_hz[voiced]).mean()) if voiced.any() else DEFAULT_LOG_F0
        codes = self.codec.encode(whole[None].to(self.device))
        latent = self.codec.normalize(self.codec.embed(codes))
        mask = torch.ones(latent.shape[:2], dtype=torch.bool, device=self.device)
        mean = torch.tensor([log_f0], device=self.device)
        return NaturalSpeech2Voice(self.model.encode_prompt(latent, mask, mean))

    @torch.inference_mode()
    def render(
        self,
        symbols: Sequence[str],
        prompt: NaturalSpeech2Voice,
        options: SpeakOptions,
        generator: Generator,
    ) -> Utterance:
        """Speak one piece of text.

        Args:
            symbols: vocabulary symbols; a boundary is added at each end where none is.
            prompt: from :meth:`encode_prompt`.
            options: sampler, speed, guidance.
            generator: draws the initial noise; on the CPU, so that a seed means the same
                everywhere.

        Raises:
            TextError: there is no phone among the symbols.
            ConfigError: the solver is unknown, or ``steps`` is below 1.
        """
        padded = vocabulary.with_boundaries(symbols)
        ids = torch.tensor([vocabulary.encode(padded)], device=self.device)
        mask = torch.ones_like(ids, dtype=torch.bool)
        states = prompt.states
        hidden = self.model.encode_symbols(ids, mask)
        log_durations = self.model.predict_durations(hidden, mask, states)[0]
        durations = self._frames(log_durations.expm1(), padded, options)
        expanded, frames = self.model.expand(hidden, durations[None].to(self.device))
        log_f0, voicing = self.model.predict_pitch(expanded, frames, states)
        voiced = voicing > 0.0
        phase = integrated_phase(log_f0.exp(), self.rate_hz, self.hop_samples)
        condition = self.model.condition(expanded, log_f0, voiced, phase)
        states = self.model.predict_mel(condition, frames, states)
        if self.model.speak_by_mel:
            whole = torch.ones(1, dtype=torch.bool, device=self.device)
            states = self.model.drop_prompt(states, whole, keep_mel=True)
        guidance = self.model.guidance if options.guidance is None else options.guidance
        latent = sample(
            self._denoiser(condition, frames, states, guidance),
            (1, frames.shape[1], self.model.latent_width),
            self.schedule,
            solver=options.solver,
            steps=STEPS if options.steps is None else options.steps,
            temperature=TEMPERATURE if options.temperature is None else options.temperature,
            generator=generator,
            device=self.device,
        )
        waveform = self.codec.decode(self.codec.denormalize(latent))[0]
        pitch_hz = torch.where(voiced, log_f0.exp(), 0.0)[0]
        return Utterance(
            samples=waveform.clamp(-1.0, 1.0).cpu().numpy(),
            symbols=tuple(padded),
            durations_frames=tuple(durations.tolist()),
            f0_hz=pitch_hz.cpu().numpy(),
        )

    def _denoiser(
        self, condition: Tensor, mask: Tensor, states: PromptStates, guidance: float
    ) -> "_Denoiser":
        return _Denoiser(self.model, self.schedule, condition, mask, states, guidance)

    def _frames(self, predicted: Tensor, symbols: Sequence[str], options: SpeakOptions) -> Tensor:
        """Round predicted frames ``(N,)`` to whole ones, fitted to speed or total length."""
        per_second = self.rate_hz / self.hop_samples
        pause = torch.tensor([vocabulary.is_pause(symbol) for symbol in symbols])
        longest = torch.where(pause, 2.0, 1.0) * LONGEST_PHONE_SECONDS * per_second
        frames = torch.minimum(predicted.cpu().clamp_min(0.0), longest)
        least = (~pause).float()
        if options.duration_seconds is not None:
            total = max(round(options.duration_seconds * per_second), int(least.sum()))
            return fit_durations(frames.maximum(least), least, total)
        return (frames / options.speed).round().maximum(least).long()


@dataclass(frozen=True)
class _Denoiser:
    """The network with its condition bound, as the solvers call it."""

    model: NaturalSpeech2
    schedule: VPSchedule
    condition: Tensor
    mask: Tensor
    states: PromptStates
    guidance: float

    def __call__(self, z_t: Tensor, t: Tensor) -> Tensor:
        estimate = self._evaluate(z_t, t, *self._prompted)
        guided = self.guidance != 0.0 and float(t[0]) >= self.model.guidance_from
        if not guided or self.states.summary is None:
            return estimate
        return guide(estimate, self._evaluate(z_t, t, *self._unprompted), self.guidance)

    @cached_property
    def _prompted(self) -> tuple[PromptStates, tuple[Tensor, ...]]:
        return self.states, tuple(self.model.tell(self.condition, self.states))

    @cached_property
    def _unprompted(self) -> tuple[PromptStates, tuple[Tensor, ...]]:
        every = torch.ones(len(self.mask), dtype=torch.bool, device=self.mask.device)
        states = self.model.drop_prompt(self.states, every)
        return states, tuple(self.model.tell(self.condition, states))

    def _evaluate(
        self, z_t: Tensor, t: Tensor, states: PromptStates, told: tuple[Tensor, ...]
    ) -> Tensor:
        rho = self.schedule.mean_scale(t)
        return self.model.denoise(z_t, t, told, states, self.mask, rho)
