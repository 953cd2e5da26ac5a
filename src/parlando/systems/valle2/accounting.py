"""Parameters of each part of both networks.

Source: VALL-E 2 gives the shape (12 layers, 16 heads, 1024 and 4096) but no counts; what follows
from it is 151 million for each body.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from parlando.systems.valle2.model import VALLE2

_PARTS = (
    ("text embedding", ("text",)),
    ("code embeddings, tied with the output", ("codes",)),
    ("group projections", ("group_input", "group_output")),
    ("prenet of codes", ("prenet",)),
    ("positions of codes", ("positions",)),
    ("begin, end and level", ("begin", "end", "level")),
    ("transformer", ("body",)),
)


@dataclass(frozen=True, kw_only=True)
class ParameterCount:
    """One row of the table."""

    name: str
    """A part of the networks."""
    autoregressive: int
    """Its parameters in the network of the first level."""
    nonautoregressive: int
    """Its parameters in the network of the others."""


def parameter_table(model: VALLE2) -> list[ParameterCount]:
    """Count the parameters of each part; every parameter is in exactly one row.

    Args:
        model: of any shape, on any device, ``meta`` included.
    """
    return [
        ParameterCount(
            name=name,
            autoregressive=_count(model.autoregressive, parts),
            nonautoregressive=_count(model.nonautoregressive, parts),
        )
        for name, parts in _PARTS
    ]


def format_parameter_table(rows: Sequence[ParameterCount]) -> str:
    """Write the rows and their sum as a Markdown table in millions."""
    total = ParameterCount(
        name="total",
        autoregressive=sum(row.autoregressive for row in rows),
        nonautoregressive=sum(row.nonautoregressive for row in rows),
    )
    lines = ["| part | first level, M | other levels, M |", "|---|---:|---:|"]
    for row in (*rows, total):
        lines.append(
            f"| {row.name} | {row.autoregressive / 1e6:.2f} | {row.nonautoregressive / 1e6:.2f} |"
        )
    return "\n".join(lines)


def _count(model: nn.Module, parts: tuple[str, ...]) -> int:
    return sum(
        parameter.numel()
        for name, parameter in model.named_parameters()
        if name.split(".")[0] in parts
    )
