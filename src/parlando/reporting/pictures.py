"""Pictures of a report as inline SVG, coloured by the page's style sheet, light or dark."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from parlando.evaluation.measure import RATE_HZ, Better

PIXELS_PER_SECOND = 160
"""Width of spectrograms: two of them compare in time."""
_PHONES_PIXELS = 20
_MEL_PIXELS = 120
_WINDOW_SAMPLES = 1024
_HOP_SAMPLES = 160
_MEL_BANDS = 80
_DYNAMICS_NEPERS = 8.0
_PITCH_HZ = (60.0, 500.0)


@dataclass(frozen=True, kw_only=True)
class Point:
    """A figure under one value of a numeric condition."""

    x: float
    """The value of the condition."""
    y: float
    """The figure, in the unit that is shown."""
    low: float | None = None
    """Lower end of its interval."""
    high: float | None = None
    """Upper end."""


@dataclass(frozen=True, kw_only=True)
class Phone:
    """A phone of a recording, in time."""

    symbol: str
    """IPA."""
    start_seconds: float
    """When it begins."""
    end_seconds: float
    """When it ends."""


def range_bar(
    value: float,
    low: float | None,
    high: float | None,
    human: float | None,
    control: float | None,
    better: Better | None = None,
) -> str:
    """Draw a figure and its interval on the way from chance, left, to people, right.

    Where one of the two is not known, the better end is on the right.

    Returns:
        nothing where there is neither level to compare with.
    """
    levels = [level for level in (human, control) if level is not None]
    ends = [end for end in (low, high) if end is not None]
    everything = [value, *levels, *ends]
    left, right = min(everything), max(everything)
    if not levels or right <= left:
        return ""
    known = human is not None and control is not None
    if (human or 0.0) < (control or 0.0) if known else better == "lower":
        left, right = right, left

    def x(number: float) -> str:
        return _px(6 + 148 * (number - left) / (right - left))

    parts = ['<line class="axis" x1="6" y1="11" x2="154" y2="11"/>']
    if control is not None:
        parts.append(f'<path class="chance" d="M{x(control)} 5v12"/>')
    if human is not None:
        parts.append(f'<path class="human" d="M{x(human)} 5v12"/>')
    if low is not None and high is not None:
        parts.append(f'<line class="interval" x1="{x(low)}" y1="11" x2="{x(high)}" y2="11"/>')
    parts.append(f'<circle class="value" cx="{x(value)}" cy="11" r="4"/>')
    return _svg(160, 22, "where it lies between chance and people", parts, "bar")


def difference_bar(value: float, low: float, high: float, kind: str) -> str:
    """Draw a difference and its interval about zero, on a scale of its own.

    Args:
        value: the difference.
        low: lower end of its interval.
        high: upper end.
        kind: ``gain``, ``loss`` or ``unclear``, for the colour.
    """
    widest = max(abs(low), abs(high), abs(value)) or 1.0

    def x(number: float) -> str:
        return _px(80 + 72 * number / widest)

    parts = [
        '<line class="axis" x1="6" y1="11" x2="154" y2="11"/><path class="axis" d="M80 4v14"/>',
        f'<line class="spread {kind}" x1="{x(low)}" y1="11" x2="{x(high)}" y2="11"/>',
        f'<circle class="{kind}" cx="{x(value)}" cy="11" r="4"/>',
    ]
    return _svg(160, 22, "the difference and its interval about zero", parts, "bar")


_DECADE = 10.0


def line_plot(
    points: Sequence[Point],
    *,
    label: str,
    human: float | None = None,
    control: float | None = None,
) -> str:
    """Draw a figure against a numeric condition, with the band of its interval.

    Choice: conditions that span a factor of :data:`_DECADE` lie on a logarithmic axis.

    Args:
        points: one or more.
        label: what is on the axes, for those who cannot see.
        human: level of people, drawn where it does not flatten the line.
        control: level of chance, likewise.
    """
    points = sorted(points, key=lambda point: point.x)
    ends = [end for p in points for end in (p.y, p.low, p.high) if end is not None]
    low, high = min(ends), max(ends)
    # A level far away would press the line flat: it is in the table all the same.
    near = 3.0 * (high - low) or max(abs(high), 1e-9)
    levels = {"human": human, "chance": control}
    drawn = {
        name: level
        for name, level in levels.items()
        if level is not None and low - near <= level <= high + near
    }
    low, high = min([low, *drawn.values()]), max([high, *drawn.values()])
    wide = points[0].x > 0.0 and points[-1].x >= _DECADE * points[0].x
    along = _Axis([math.log(p.x) if wide else p.x for p in points], 46, 290)
    x = {point.x: along(math.log(point.x) if wide else point.x) for point in points}
    y = _Axis([low, high], 132, 12)
    parts = _grid(_ticks(low, high), y)
    parts += [
        f'<line class="{name}" x1="46" x2="290" y1="{y(level)}" y2="{y(level)}"/>'
        for name, level in drawn.items()
    ]
    band = [point for point in points if point.low is not None and point.high is not None]
    if band:
        top = [f"{x[p.x]},{y(p.high or 0.0)}" for p in band]
        bottom = [f"{x[p.x]},{y(p.low or 0.0)}" for p in reversed(band)]
        parts.append(f'<polygon class="band" points="{" ".join(top + bottom)}"/>')
        parts += [
            f'<line class="whisker" x1="{x[p.x]}" x2="{x[p.x]}" '
            f'y1="{y(p.low or 0.0)}" y2="{y(p.high or 0.0)}"/>'
            for p in band
        ]
    line = " ".join(f"{x[p.x]},{y(p.y)}" for p in points)
    parts.append(f'<polyline class="line" points="{line}"/>')
    for point in points:
        title = f"<title>{point.x:g}: {_short(point.y)}</title>"
        parts.append(f'<circle class="value" cx="{x[point.x]}" cy="{y(point.y)}" r="3.5">{title}')
        parts.append("</circle>")
        parts.append(f'<text class="tick" x="{x[point.x]}" y="150">{point.x:g}</text>')
    return _svg(300, 158, label, parts, "plot")


def histogram(values: Sequence[float], *, pooled: float, label: str) -> str:
    """Draw how a quantity is spread over utterances, and the figure of all.

    Args:
        values: one or more, in the unit that is shown.
        pooled: the figure over all utterances.
        label: what it shows, for those who cannot see.
    """
    low, high = min([*values, pooled]), max([*values, pooled])
    # A mean of equal values differs from them by its rounding, which is no spread.
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        low, high = low - 0.5, high + 0.5
    bins = int(np.clip(round(2 * math.sqrt(len(values))), 5, 28))
    counts, edges = np.histogram(values, bins=bins, range=(low, high))
    x = _Axis([low, high], 16, 284, margin=0.0)
    height = 66.0 / max(int(counts.max()), 1)
    parts = []
    for count, start, end in zip(counts.tolist(), edges[:-1], edges[1:], strict=True):
        if count:
            left, width = float(x(start)), float(x(end)) - float(x(start))
            parts.append(
                f'<rect class="bin" x="{_px(left + 0.5)}" y="{_px(78 - height * count)}" '
                f'width="{_px(width - 1)}" height="{_px(height * count)}">'
                f"<title>{_short(start)} to {_short(end)}: {count}</title></rect>"
            )
    parts.append('<line class="axis" x1="8" x2="292" y1="78" y2="78"/>')
    parts.append(f'<line class="mean" x1="{x(pooled)}" x2="{x(pooled)}" y1="6" y2="78"/>')
    parts += [
        f'<text class="tick" x="{x(tick)}" y="93">{text}</text>'
        for tick, text in _ticks(low, high).items()
    ]
    return _svg(300, 98, label, parts, "plot")


def phones_of(details: Mapping[str, Any]) -> tuple[Phone, ...]:
    """Place the phones that a system told in time; none where it told nothing.

    Args:
        details: see ``Sample.details``.
    """
    if not {"symbols", "durations_frames", "hop_samples", "rate_hz"} <= details.keys():
        return ()
    frame_seconds = details["hop_samples"] / details["rate_hz"]
    phones, frames = [], 0
    for symbol, count in zip(details["symbols"], details["durations_frames"], strict=False):
        if count and symbol.strip():
            phones.append(
                Phone(
                    symbol=symbol,
                    start_seconds=frames * frame_seconds,
                    end_seconds=(frames + count) * frame_seconds,
                )
            )
        frames += count
    return tuple(phones)


def spectrogram(samples: np.ndarray, *, label: str, phones: Sequence[Phone] = ()) -> str:
    """Draw the mel spectrogram of a recording with its pitch, and its phones where known.

    Args:
        samples: ``(S,)`` float at 16 kHz.
        label: what it shows, for those who cannot see.
        phones: drawn below, in time.
    """
    frames = len(samples) // _HOP_SAMPLES
    if not frames:
        return ""
    samples = np.ascontiguousarray(samples[: frames * _HOP_SAMPLES], dtype=np.float32)
    seconds = len(samples) / RATE_HZ
    width = max(1, round(seconds * PIXELS_PER_SECOND))
    image = base64.b64encode(_mel_png(samples)).decode()
    parts = [
        f'<image href="data:image/png;base64,{image}" width="{width}" height="{_MEL_PIXELS}" '
        'preserveAspectRatio="none"/>',
        f'<path class="pitch" d="{_pitch_path(samples)}"/>',
    ]
    for index, phone in enumerate(phones):
        left = PIXELS_PER_SECOND * phone.start_seconds
        wide = PIXELS_PER_SECOND * (phone.end_seconds - phone.start_seconds)
        parts.append(
            f'<rect class="phone{index % 2}" x="{_px(left)}" y="{_MEL_PIXELS}" '
            f'width="{_px(wide)}" height="{_PHONES_PIXELS}"/>'
            f'<text class="phone" x="{_px(left + wide / 2)}" y="{_MEL_PIXELS + 14}">'
            f"{escape(phone.symbol)}</text>"
        )
    bottom = _MEL_PIXELS + (_PHONES_PIXELS if phones else 0)
    parts += [
        f'<text class="tick" x="{max(12, second * PIXELS_PER_SECOND)}" y="{bottom + 14}">'
        f"{second} s</text>"
        for second in range(math.ceil(seconds))
    ]
    parts.append(f'<line class="playhead" x1="0" x2="0" y1="0" y2="{bottom}"/>')
    return _svg(width, bottom + 18, label, parts, "spectrogram")


def _mel_png(samples: np.ndarray) -> bytes:
    import torch
    from matplotlib.image import imsave

    from parlando.audio.spectrogram import log_mel

    waveform = torch.from_numpy(samples)[None]
    mel = log_mel(waveform, RATE_HZ, _WINDOW_SAMPLES, _HOP_SAMPLES, _MEL_BANDS)[0].numpy()
    loudest = float(mel.max())
    target = io.BytesIO()
    imsave(
        target,
        mel.T,
        format="png",
        origin="lower",
        cmap="magma",
        vmin=loudest - _DYNAMICS_NEPERS,
        vmax=loudest,
    )
    return target.getvalue()


def _pitch_path(samples: np.ndarray) -> str:
    from parlando.audio.pitch import f0

    hertz, voiced = f0(samples, RATE_HZ, _HOP_SAMPLES)
    low, high = np.log(_PITCH_HZ)
    height = (np.log(np.maximum(hertz, 1.0)) - low) / (high - low)
    steps, drawing = [], False
    for frame in range(len(hertz)):
        if voiced[frame]:
            x = (frame + 0.5) * _HOP_SAMPLES / RATE_HZ * PIXELS_PER_SECOND
            y = _MEL_PIXELS * (1.0 - float(np.clip(height[frame], 0.0, 1.0)))
            steps.append(f"{'L' if drawing else 'M'}{_px(x)} {_px(y)}")
        drawing = bool(voiced[frame])
    return "".join(steps)


class _Axis:
    """Maps numbers to pixels, as text."""

    def __init__(
        self, numbers: Sequence[float], first: float, last: float, margin: float = 0.06
    ) -> None:
        low, high = min(numbers), max(numbers)
        spread = (high - low) or abs(high) or 1.0
        self.low, self.spread = low - margin * spread, (1 + 2 * margin) * spread
        self.first, self.last = first, last

    def __call__(self, number: float) -> str:
        share = (number - self.low) / self.spread
        return _px(self.first + (self.last - self.first) * share)


def _grid(ticks: Mapping[float, str], y: _Axis) -> list[str]:
    return [
        f'<line class="grid" x1="46" x2="290" y1="{y(tick)}" y2="{y(tick)}"/>'
        f'<text class="tick side" x="40" y="{y(tick)}" dy="0.32em">{text}</text>'
        for tick, text in ticks.items()
    ]


def _ticks(low: float, high: float) -> dict[float, str]:
    """Choose three to six round numbers within a range, and write them."""
    spread = (high - low) or abs(high) or 1.0
    step = 10.0 ** math.floor(math.log10(spread / 3.0))
    step *= next(factor for factor in (1, 2, 5, 10) if spread / (factor * step) <= 5.0)
    first = math.ceil(low / step - 1e-9)
    count = math.floor((high - low) / step + 1e-9)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    ticks = [step * (first + index) for index in range(count + 1)]
    kept = [tick for tick in ticks if tick <= high + 1e-9 * spread] or [low]
    return {tick: f"{tick + 0.0:.{decimals}f}".replace("-", "−") for tick in kept}


def _short(number: float) -> str:
    return f"{number:.3g}" if abs(number) < 1000 else f"{number:.0f}"


def _px(pixels: float) -> str:
    return f"{pixels:.1f}".removesuffix(".0")


def _svg(width: int, height: int, label: str, parts: Sequence[str], kind: str) -> str:
    # Every part is made here of numbers, or escaped: pages take it as it is.
    return (
        f'<svg class="{kind}" role="img" aria-label="{escape(label)}" '
        f'viewBox="0 0 {width} {height}" width="{width}" height="{height}">{"".join(parts)}</svg>'
    )
