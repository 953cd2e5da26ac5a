"""The small networks of the disentanglement probe: all of one shape, trained alike."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from parlando.contracts import ConfigError
from parlando.data.batching import mask_of, pad
from parlando.nn.heads import FrameHead, PooledHead

_GRADIENT_NORM = 1.0


@dataclass(frozen=True, kw_only=True)
class ReaderOptions:
    """Shape and training of readers."""

    hidden: int = 128
    """Channels of a reader: one ConvNeXt block, which sees three frames on each side."""
    steps: int = 600
    """Optimizer steps."""
    batch_size: int = 16
    """Crops of a step."""
    crop_frames: int = 160
    """Length of a crop."""
    learning_rate: float = 2e-3
    """Highest learning rate; it rises over a tenth of the steps and falls to 0."""
    seed: int = 0
    """Of weights and batches."""

    def __post_init__(self) -> None:
        for name in ("hidden", "steps", "batch_size", "crop_frames"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; give 1 or more")


@dataclass(frozen=True)
class Examples:
    """Utterances: what is told of each, ``(T, D)``, and the right answers ``(T,)`` or ``()``."""

    features: Sequence[Tensor]
    answers: Sequence[Tensor]


class Reader(nn.Module):
    """Read answers off features, which it brings to unit size first.

    Args:
        network: ``(B, T, D)`` to ``(B, T, O)``, or with a mask ``(B, T)`` to ``(B, O)``.
        mean: ``(D,)`` of the features.
        deviation: ``(D,)`` of the features.
    """

    def __init__(self, network: FrameHead | PooledHead, mean: Tensor, deviation: Tensor):
        super().__init__()
        self.network = network
        self.mean, self.deviation = mean, deviation

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """Map ``(B, T, D)`` with ``mask`` ``(B, T)`` to ``(B, T, O)`` or ``(B, O)``."""
        # What lies outside the mask is what convolutions see beyond the ends of an utterance: 0.
        x = (features - self.mean) / self.deviation * mask[..., None]
        answers: Tensor = self.network(x, mask) if self._pools else self.network(x)
        return answers

    @property
    def _pools(self) -> bool:
        return isinstance(self.network, PooledHead)


def read_phones(examples: Examples, classes: int, options: ReaderOptions) -> Reader:
    """Train a reader of frames' classes; answers below 0 are not asked for."""

    def loss(read: Tensor, answers: Tensor, mask: Tensor) -> Tensor:
        wanted = answers.masked_fill(~mask | (answers < 0), -1)
        return F.cross_entropy(read.transpose(1, 2), wanted, ignore_index=-1)

    return _trained(FrameHead, examples, classes, loss, options)


def read_pitch(examples: Examples, options: ReaderOptions) -> Reader:
    """Train a reader of one number a frame; what is not a number is not asked for."""

    def loss(read: Tensor, answers: Tensor, mask: Tensor) -> Tensor:
        asked = mask & answers.isfinite()
        error = (read[..., 0] - answers.nan_to_num()).square()
        return (error * asked).sum() / asked.sum().clamp_min(1)

    return _trained(FrameHead, examples, 1, loss, options)


def read_speakers(examples: Examples, classes: int, options: ReaderOptions) -> Reader:
    """Train a reader of one class an utterance."""

    def loss(read: Tensor, answers: Tensor, mask: Tensor) -> Tensor:
        return F.cross_entropy(read, answers)

    return _trained(PooledHead, examples, classes, loss, options)


@torch.inference_mode()
def shares_right(reader: Reader, examples: Examples) -> tuple[list[float], list[float]]:
    """Count right answers and questions in each utterance."""
    right, asked = [], []
    for features, answers in zip(examples.features, examples.answers, strict=True):
        given = _read_whole(reader, features).argmax(-1)
        right.append(float(((given == answers) & (answers >= 0)).sum()))
        asked.append(float((answers >= 0).sum()))
    return right, asked


@torch.inference_mode()
def pitch_scores(reader: Reader, examples: Examples) -> tuple[list[float], list[float]]:
    """Sum the squared errors, and the squares about 0, the mean, in each utterance."""
    errors, squares = [], []
    for features, answers in zip(examples.features, examples.answers, strict=True):
        asked = answers.isfinite()
        read = _read_whole(reader, features)[..., 0]
        errors.append(float((read - answers)[asked].square().sum()))
        squares.append(float(answers[asked].square().sum()))
    return errors, squares


def _read_whole(reader: Reader, features: Tensor) -> Tensor:
    read: Tensor = reader(features[None], torch.ones(1, len(features), dtype=torch.bool))
    return read[0]


def _trained(
    kind: type[FrameHead] | type[PooledHead],
    examples: Examples,
    outputs: int,
    loss: Callable[[Tensor, Tensor, Tensor], Tensor],
    options: ReaderOptions,
) -> Reader:
    frames = torch.cat(list(examples.features))
    generator = torch.Generator().manual_seed(options.seed)
    # Neither the seed of weights nor anything else of the process may change.
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(options.seed)
        network = kind(frames.shape[1], options.hidden, outputs)
        reader = Reader(network, frames.mean(0), frames.std(0, correction=0).clamp_min(1e-5))
        optimizer = torch.optim.AdamW(reader.parameters(), options.learning_rate, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, options.learning_rate, total_steps=options.steps + 1, pct_start=0.1
        )
        for _ in range(options.steps):
            features, answers, mask = _batch(examples, options, generator)
            optimizer.zero_grad()
            loss(reader(features, mask), answers, mask).backward()
            nn.utils.clip_grad_norm_(reader.parameters(), _GRADIENT_NORM)
            optimizer.step()
            schedule.step()
    return reader.eval()


def _batch(
    examples: Examples, options: ReaderOptions, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw crops of utterances, with their answers and the mask of what is real."""
    features, answers = [], []
    drawn = torch.randint(len(examples.features), (options.batch_size,), generator=generator)
    for index in drawn.tolist():
        told, wanted = examples.features[index], examples.answers[index]
        spare = max(0, len(told) - options.crop_frames)
        start = int(torch.randint(spare + 1, (), generator=generator))
        part = slice(start, start + options.crop_frames)
        features.append(told[part].T)
        answers.append(wanted[part] if wanted.ndim else wanted)
    lengths = [part.shape[-1] for part in features]
    whole = torch.stack(answers) if answers[0].ndim == 0 else pad(answers)
    return pad(features).transpose(1, 2), whole, mask_of(lengths)
