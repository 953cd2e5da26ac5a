"""The networks of NaturalSpeech 2.

Source: Shen et al. 2023 (arXiv 2304.09116), sections 3.2 to 3.4 and Table 11. Nothing here knows
the diffusion process: :meth:`NaturalSpeech2.denoise` is one network evaluation.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from parlando.audio.spectrogram import log_mel
from parlando.contracts import ConfigError
from parlando.nn.attention import Attention
from parlando.nn.conditioning import TimeEmbedding
from parlando.nn.transformer import TransformerEncoder
from parlando.nn.wavenet import WaveNet
from parlando.systems.naturalspeech2.config import NaturalSpeech2Config

PITCH_CENTRES = 32
LOWEST_PITCH, HIGHEST_PITCH = 4.0, 6.6
"""Range of the pitch embedding in log-hertz: 55 to 735 Hz."""


@dataclass(frozen=True)
class PromptStates:
    """The encoded prompt.

    ``states`` ``(B, P, D)`` with ``mask`` ``(B, P)`` serve the predictors; ``summary``
    ``(B, m, D)`` with ``summary_mask`` (None: all real) serves the diffusion network; ``log_f0``
    ``(B,)`` is the mean over voiced frames; ``vector`` ``(B, D)`` is what ``global_prompt`` adds;
    ``mel`` ``(B, T, M)`` is what the prompt's voice is expected to sound like on a given text, see
    :meth:`NaturalSpeech2.predict_mel`.
    """

    states: Tensor
    mask: Tensor
    summary: Tensor | None
    summary_mask: Tensor | None
    log_f0: Tensor
    vector: Tensor | None = None
    mel: Tensor | None = None


class PromptedPredictor(nn.Module):
    """Convolutions that attend to the prompt after every third: durations, pitch, mel.

    Source: section 3.3 and Table 11. The convolution states are queries; the prompt states are
    keys and values.

    Args:
        input_width: channels of the input and of the prompt.
        width: channels inside.
        layers: number of convolutions.
        kernel: odd kernel length.
        heads: attention heads.
        dropout: after each normalisation.
        outputs: values for each position.
        use_prompt: attend to the prompt at all.
    """

    def __init__(
        self,
        *,
        input_width: int,
        width: int,
        layers: int,
        kernel: int,
        heads: int,
        dropout: float,
        outputs: int,
        use_prompt: bool,
    ):
        super().__init__()
        self.input = nn.Linear(input_width, width)
        self.prompt = nn.Linear(input_width, width) if use_prompt else None
        self.convolutions = nn.ModuleList(
            [nn.Conv1d(width, width, kernel, padding=kernel // 2) for _ in range(layers)]
        )
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(layers)])
        self.attentions = nn.ModuleList(
            [Attention(width, heads) for _ in range(layers // 3 if use_prompt else 0)]
        )
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(width, outputs)

    def forward(self, x: Tensor, mask: Tensor, prompt: PromptStates) -> Tensor:
        """Map ``(B, T, input_width)`` with ``mask`` ``(B, T)`` to ``(B, T, outputs)``."""
        real = mask[..., None]
        x = self.input(x) * real
        memory = None if self.prompt is None else self.prompt(prompt.states)
        for index, (convolution, norm) in enumerate(
            zip(self.convolutions, self.norms, strict=True)
        ):
            y = F.relu(convolution(x.transpose(1, 2)).transpose(1, 2))
            x = (x + self.dropout(norm(y))) * real
            if memory is not None and index % 3 == 2:
                x = (x + self.attentions[index // 3](x, memory, prompt.mask)) * real
        output: Tensor = self.output(x)
        return output


class NaturalSpeech2(nn.Module):
    """Phoneme encoder, prompt encoder, duration and pitch predictors, diffusion network.

    Args:
        config: sizes and switches.
        symbol_count: size V of the symbol vocabulary; id 0 is padding.
    """

    def __init__(self, config: NaturalSpeech2Config, symbol_count: int):
        super().__init__()
        width = config.width
        self.latent_width = config.latent_width
        self.precondition = config.precondition
        self.relative_pitch = config.relative_pitch
        self.guidance = config.guidance
        self.guidance_from = config.guidance_from
        self.speak_by_mel = config.speak_by_mel
        self.symbols = nn.Embedding(symbol_count, width, padding_idx=0)
        self.phoneme_encoder = _encoder(config, config.phoneme_layers)
        self.prompt_input = nn.Linear(config.latent_width, width)
        self.prompt_encoder = _encoder(config, config.prompt_layers)
        self.duration_predictor = _predictor(config, config.duration_kernel, outputs=1)
        self.pitch_predictor = _predictor(config, config.pitch_kernel, outputs=2)
        self.progress = nn.Linear(3, width)
        self.pitch_harmonics = config.pitch_harmonics
        self.frame_rate_hz = config.frame_rate_hz
        self.pitch_phases = config.pitch_phases
        turns = config.pitch_harmonics + config.pitch_phases
        self.pitch_embedding = nn.Linear(PITCH_CENTRES + 1 + 2 * turns, width)
        self.summary_queries: nn.Parameter | None = None
        self.summary_attention: Attention | None = None
        self.null_summary: nn.Parameter | None = None
        self.prompt_in_diffusion = config.prompt_in_diffusion
        if config.prompt_in_diffusion:
            self.null_summary = nn.Parameter(torch.randn(width) * 0.02)
            if config.query_attention:
                self.summary_queries = nn.Parameter(torch.randn(config.query_tokens, width))
                self.summary_attention = Attention(width, config.heads)
        self.prompt_vector: nn.Linear | None = None
        if config.prompt_in_diffusion and config.global_prompt:
            self.prompt_vector = nn.Linear(2 * config.latent_width + width, width)
            # The prompt starts by adding nothing, as FiLM does.
            nn.init.zeros_(self.prompt_vector.weight)
            nn.init.zeros_(self.prompt_vector.bias)
        self.mel_predictor: PromptedPredictor | None = None
        self.mel_embedding: nn.Linear | None = None
        if config.mel_bands:
            self.mel_predictor = _predictor(
                config, config.duration_kernel, outputs=config.mel_bands
            )
            # No bias, and zero at first: a mel that is hidden or not yet learnt adds nothing.
            self.mel_embedding = nn.Linear(config.mel_bands, width, bias=False)
            nn.init.zeros_(self.mel_embedding.weight)
        self.time = TimeEmbedding(width)
        self.diffusion = WaveNet(
            input_width=config.latent_width,
            width=width,
            layers=config.diffusion_layers,
            kernel=config.diffusion_kernel,
            dilations=config.diffusion_dilations,
            heads=config.heads,
            attend_every=config.attend_every if config.prompt_in_diffusion else 0,
            dropout=config.diffusion_dropout,
        )

    def encode_prompt(self, latent: Tensor, mask: Tensor, log_f0: Tensor) -> PromptStates:
        """Encode a prompt.

        Args:
            latent: ``(B, P, latent_width)``, normalised.
            mask: ``(B, P)`` bool, at least one True in every item.
            log_f0: ``(B,)`` mean natural log of the F0 in hertz over voiced frames.
        """
        states = self.prompt_encoder(self.prompt_input(latent), mask)
        summary, summary_mask = None, None
        if self.summary_attention is not None and self.summary_queries is not None:
            queries = self.summary_queries.expand(len(latent), -1, -1)
            summary = self.summary_attention(queries, states, mask)
        elif self.prompt_in_diffusion:
            summary, summary_mask = states, mask
        vector = None
        if self.prompt_vector is not None:
            vector = self.prompt_vector(_statistics(latent, states, mask))
        return PromptStates(states, mask, summary, summary_mask, log_f0, vector)

    def encode_symbols(self, symbols: Tensor, mask: Tensor) -> Tensor:
        """Encode a text: ids ``(B, N)`` with mask ``(B, N)`` to ``(B, N, D)``."""
        hidden: Tensor = self.phoneme_encoder(self.symbols(symbols), mask)
        return hidden

    def predict_durations(self, hidden: Tensor, mask: Tensor, prompt: PromptStates) -> Tensor:
        """Predict ``log(1 + frames)`` of each symbol: ``(B, N)``."""
        return self.duration_predictor(hidden, mask, prompt)[..., 0].float()

    def expand(
        self, hidden: Tensor, durations: Tensor, frames: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Repeat each symbol's state for its frames, and mark the place within the symbol.

        Choice: the place (frames since its start, frames to its end, length) is added as three
        logarithms; a state that is constant over a phone would hide it from shallow networks.

        Args:
            hidden: ``(B, N, D)``.
            durations: ``(B, N)`` int64 frames, zero for padding.
            frames: T; none: the longest total.

        Returns:
            ``(B, T, D)`` and the frame mask ``(B, T)``.
        """
        ends = durations.cumsum(1)
        totals = ends[:, -1]
        frame = torch.arange(int(totals.max()) if frames is None else frames, device=hidden.device)
        index = torch.searchsorted(ends, frame.expand(len(ends), -1).contiguous(), right=True)
        mask = frame[None] < totals[:, None]
        index = index.clamp(max=durations.shape[1] - 1)
        length = durations.gather(1, index)
        since = frame[None] - (ends.gather(1, index) - length)
        place = torch.stack([since + 1, (length - since).clamp_min(1), length], dim=-1)
        progress = self.progress(place.clamp_min(1).float().log())
        states = hidden.gather(1, index[..., None].expand(-1, -1, hidden.shape[-1]))
        return (states + progress) * mask[..., None], mask

    def predict_pitch(
        self, expanded: Tensor, mask: Tensor, prompt: PromptStates
    ) -> tuple[Tensor, Tensor]:
        """Predict natural log-F0 and the logit of voicing, both ``(B, T)``."""
        output = self.pitch_predictor(expanded, mask, prompt).float()
        log_f0 = 0.2 * output[..., 0]
        offset = prompt.log_f0[:, None] if self.relative_pitch else 5.0
        return log_f0 + offset, output[..., 1]

    def predict_mel(self, condition: Tensor, mask: Tensor, prompt: PromptStates) -> PromptStates:
        """Predict the mel frames of a text in the prompt's voice, and enter them into its states.

        Args:
            condition: ``(B, T, D)`` from :meth:`condition`.
            mask: ``(B, T)`` bool.
            prompt: the encoded prompt.

        Returns:
            the prompt with ``mel`` ``(B, T, M)``, standardised log-mel, see
            :func:`standardized_mel`; without ``mel_bands`` the prompt as it is.
        """
        if self.mel_predictor is None:
            return prompt
        if prompt.vector is not None:
            condition = condition + prompt.vector[:, None]
        return replace(prompt, mel=self.mel_predictor(condition, mask, prompt))

    def condition(
        self, expanded: Tensor, log_f0: Tensor, voiced: Tensor, phase: Tensor | None = None
    ) -> Tensor:
        """Add the embedded pitch to the expanded states.

        Choice: log-F0 is spread over radial basis functions, so that the embedding is smooth in
        pitch; unvoiced frames have a channel of their own instead of log(0). With
        ``pitch_harmonics`` the angles by which the lowest harmonics turn from one frame to the
        next are given as well: they say where harmonics lie, finer than any smooth basis, and how
        the phases in neighbouring latents hang together.

        Args:
            expanded: ``(B, T, D)``.
            log_f0: ``(B, T)``, finite everywhere.
            voiced: ``(B, T)`` bool.
            phase: ``(B, T)`` phase of the fundamental in radians; read where the model was built
                with ``pitch_phases``. The codec's latents hold it, and a model that is not told
                would have to invent one that goes on from frame to frame.

        Returns:
            ``(B, T, D)``.
        """
        centres = torch.linspace(LOWEST_PITCH, HIGHEST_PITCH, PITCH_CENTRES, device=log_f0.device)
        spacing = (HIGHEST_PITCH - LOWEST_PITCH) / (PITCH_CENTRES - 1)
        basis = (-0.5 * ((log_f0[..., None] - centres) / spacing).square()).exp()
        real = voiced[..., None].to(basis)
        features = [basis * real, 1.0 - real]
        if self.pitch_harmonics:
            harmonic = torch.arange(1, self.pitch_harmonics + 1, device=log_f0.device)
            turn = 2.0 * math.pi / self.frame_rate_hz * log_f0.exp()[..., None] * harmonic
            features += [turn.cos() * real, turn.sin() * real]
        if self.pitch_phases:
            if phase is None:
                raise ConfigError("the model reads the phase of the fundamental; hand it in")
            order = torch.arange(1, self.pitch_phases + 1, device=log_f0.device)
            angle = phase[..., None] * order
            features += [angle.cos() * real, angle.sin() * real]
        return expanded + self.pitch_embedding(torch.cat(features, dim=-1))

    def drop_prompt(
        self, prompt: PromptStates, dropped: Tensor, *, keep_mel: bool = False
    ) -> PromptStates:
        """Hide the prompt of items where ``dropped`` ``(B,)`` from the diffusion network.

        Args:
            prompt: of a batch of B.
            dropped: ``(B,)`` bool.
            keep_mel: leave the predicted mel, and hide the rest.
        """
        summary, vector, mel = prompt.summary, prompt.vector, prompt.mel
        if summary is not None and self.null_summary is not None:
            null = self.null_summary.to(summary)
            summary = torch.where(dropped[:, None, None], null, summary)
        if vector is not None:
            vector = vector.masked_fill(dropped[:, None], 0.0)
        if mel is not None and not keep_mel:
            mel = mel.masked_fill(dropped[:, None, None], 0.0)
        return replace(prompt, summary=summary, vector=vector, mel=mel)

    def tell(self, condition: Tensor, prompt: PromptStates) -> Iterator[Tensor]:
        """Project what the diffusion network is told of every frame at every evaluation.

        Args:
            condition: ``(B, T, D)`` from :meth:`condition`.
            prompt: the encoded prompt, with the mel where the model predicts one.

        Returns:
            a tensor for each block of the network, made when it is asked for: keep them for several
            evaluations.

        Raises:
            ConfigError: the model predicts a mel, and the prompt has none.
        """
        if self.mel_embedding is not None:
            if prompt.mel is None:
                raise ConfigError("the model reads a predicted mel; call predict_mel first")
            condition = condition + self.mel_embedding(prompt.mel)
        return self.diffusion.tell(condition)

    def denoise(
        self,
        z_t: Tensor,
        t: Tensor,
        told: Iterable[Tensor],
        prompt: PromptStates,
        mask: Tensor,
        mean_scale: Tensor,
    ) -> Tensor:
        """Estimate the clean latent: one network evaluation.

        With ``precondition`` the result is ``rho z_t + sqrt(1 - rho^2) network(z_t, t)``: for data
        of unit variance the first part is the best linear estimate (Karras et al. 2022,
        section 5), so that the network never has to copy its input.

        Args:
            z_t: ``(B, T, latent_width)``, normalised latents.
            t: ``(B,)`` in [0, 1].
            told: from :meth:`tell`, with the same prompt.
            prompt: the encoded prompt.
            mask: ``(B, T)`` bool.
            mean_scale: ``(B,)`` the process's rho at ``t``.

        Returns:
            ``(B, T, latent_width)`` float32.
        """
        time = self.time(t)
        if prompt.vector is not None:
            time = time + prompt.vector
        output = self.diffusion(z_t, time, told, prompt.summary, mask, prompt.summary_mask).float()
        if not self.precondition:
            return output
        rho = mean_scale[:, None, None]
        return rho * z_t + (1.0 - rho.square()).clamp_min(0.0).sqrt() * output


def standardized_mel(waveform: Tensor, rate_hz: int, hop: int, bands: int) -> Tensor:
    """Return log-mel frames ``(B, T, M)`` of ``(B, S)`` on a scale of about -1.5 to 1.5."""
    return (log_mel(waveform, rate_hz, 1024, hop, bands) + 7.0) / 2.5


def _statistics(latent: Tensor, states: Tensor, mask: Tensor) -> Tensor:
    """Join mean and deviation of the prompt's latents and the mean of its states over time.

    Returns:
        ``(B, 2 * latent_width + D)``.
    """
    real = mask[..., None].to(latent)
    count = real.sum(1).clamp_min(1.0)
    mean = (latent * real).sum(1) / count
    variance = ((latent - mean[:, None]).square() * real).sum(1) / count
    deviation = (variance + 1e-5).sqrt()
    return torch.cat([mean, deviation, (states * real).sum(1) / count], dim=-1)


def _encoder(config: NaturalSpeech2Config, layers: int) -> TransformerEncoder:
    return TransformerEncoder(
        width=config.width,
        layers=layers,
        heads=config.heads,
        filter_width=config.filter_width,
        kernel=config.filter_kernel,
        dropout=config.encoder_dropout,
    )


def _predictor(config: NaturalSpeech2Config, kernel: int, outputs: int) -> PromptedPredictor:
    return PromptedPredictor(
        input_width=config.width,
        width=config.predictor_width,
        layers=config.predictor_layers,
        kernel=kernel,
        heads=config.heads,
        dropout=config.predictor_dropout,
        outputs=outputs,
        use_prompt=config.prompt_in_predictors,
    )
