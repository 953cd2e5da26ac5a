"""Parameters of each network beside those that the paper states.

Source: NaturalSpeech 2, Table 11. What follows from its layers agrees for four of five networks
within 5 %. The diffusion network's 183 million do not: the layers that the table lists make about
150 million in any reading, and no layer is padded to hit a figure.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from parlando.systems.naturalspeech2.model import NaturalSpeech2

# Each part of the model, by the prefixes of its parameters' names, with the paper's millions.
_PARTS: tuple[tuple[str, tuple[str, ...], float | None], ...] = (
    ("phoneme encoder", ("symbols", "phoneme_encoder"), 72.0),
    ("duration predictor", ("duration_predictor",), 34.0),
    ("pitch predictor", ("pitch_predictor",), 50.0),
    ("speech prompt encoder", ("prompt_input", "prompt_encoder"), 69.0),
    (
        "diffusion",
        (
            "summary_queries",
            "summary_attention",
            "null_summary",
            "prompt_vector",
            "time",
            "diffusion",
        ),
        183.0,
    ),
    ("mel predictor and embedding", ("mel_predictor", "mel_embedding"), None),
    ("length and pitch embedding", ("progress", "pitch_embedding"), None),
)


@dataclass(frozen=True, kw_only=True)
class ParameterCount:
    """One row of the table."""

    name: str
    """What the paper calls the network."""
    count: int
    """Parameters here."""
    paper_millions: float | None
    """Millions in Table 11; None where it has no such row."""


def parameter_table(model: NaturalSpeech2) -> list[ParameterCount]:
    """Count the parameters of each network; every parameter is in exactly one row.

    Args:
        model: of any shape, on any device, ``meta`` included.
    """
    return [
        ParameterCount(name=name, count=_count(model, prefixes), paper_millions=paper)
        for name, prefixes, paper in _PARTS
    ]


def format_parameter_table(rows: Sequence[ParameterCount]) -> str:
    """Write the rows and their sum as a Markdown table in millions."""
    stated = sum(row.paper_millions or 0.0 for row in rows)
    total = ParameterCount(
        name="total", count=sum(row.count for row in rows), paper_millions=stated
    )
    lines = ["| network | here, M | paper, M |", "|---|---:|---:|"]
    for row in (*rows, total):
        paper = "–" if row.paper_millions is None else f"{row.paper_millions:.0f}"
        lines.append(f"| {row.name} | {row.count / 1e6:.1f} | {paper} |")
    return "\n".join(lines)


def _count(model: nn.Module, prefixes: tuple[str, ...]) -> int:
    return sum(
        parameter.numel()
        for name, parameter in model.named_parameters()
        if name.split(".")[0] in prefixes
    )
