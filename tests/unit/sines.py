"""A synthesizer of sines, and babble to prompt it with: no weights, no speech needed."""

import numpy as np
import torch

from parlando.contracts import SpeakOptions, Utterance
from parlando.text.vocabulary import encode, is_pause

RATE, HOP = 16_000, 200


def babble(seconds: float, level: float = 0.1) -> np.ndarray:
    """Harmonics under a syllable rhythm: sound that voice activity detection takes for speech."""
    time = np.arange(round(seconds * RATE)) / RATE
    tone = sum(np.sin(2 * np.pi * 120 * k * time) / k for k in range(1, 12))
    rhythm = np.clip(np.sin(2 * np.pi * 2.0 * time) + 0.5, 0.0, None)
    return (level * tone * rhythm).astype(np.float32)


class SineSynthesizer:
    """Each phone is a 220 Hz sine whose length comes from the generator; pauses are silent."""

    name = "sines"
    rate_hz = RATE
    hop_samples = HOP
    option_names = frozenset(
        ("steps", "solver", "speed", "duration_seconds", "guidance", "temperature")
    )

    def __init__(self, gains=(0.1,), cut_at_peak=False, spike=0.0):
        self.gains, self.cut_at_peak, self.spike = gains, cut_at_peak, spike
        self.rendered = 0
        self.encoded = 0

    def encode_prompt(self, waveform: torch.Tensor) -> float:
        self.encoded += 1
        return float(waveform.square().mean())

    def render(self, symbols, prompt, options: SpeakOptions, generator) -> Utterance:
        frames = torch.randint(6, 12, (len(symbols),), generator=generator) / options.speed
        if options.duration_seconds is not None:
            frames *= options.duration_seconds * RATE / HOP / frames.sum()
        edges = torch.cat([torch.zeros(1), frames.cumsum(0)]).round().long()
        durations = edges.diff().tolist()
        phase = np.pi / 2 if self.cut_at_peak else 0.0
        wave = np.sin(2 * np.pi * 220 * np.arange(sum(durations) * HOP) / RATE + phase)
        spoken = np.repeat([not is_pause(symbol) for symbol in symbols], durations)
        gain = self.gains[self.rendered % len(self.gains)]
        samples = (gain * wave * (1.0 if self.cut_at_peak else np.repeat(spoken, HOP))).astype(
            np.float32
        )
        if self.spike:
            samples[len(samples) // 2] = self.spike
        self.rendered += 1
        assert len(encode(symbols)) == len(durations)
        return Utterance(
            samples=samples,
            symbols=tuple(symbols),
            durations_frames=tuple(durations),
            f0_hz=np.where(spoken, 220.0, 0.0).astype(np.float32),
        )
