"""What a system tells of how it made an output: whether it found an end, what it drew anew."""

from collections.abc import Sequence

from parlando.evaluation.measure import RATE_HZ, Figure, Judgement, Quantity, Row, Sample


class Generation:
    """Counts outputs that a length guard ended, and codes that were drawn anew.

    Source: VALL-E 2, "repetition aware sampling": a decoder that repeats itself never ends. Here a
    limit of length ends it; the share of outputs in which one did, in any piece of the text, is
    what the sampling is there to lower. Systems that tell nothing have no figures.
    """

    name = "generation"
    quantities = (
        Quantity(
            key="cut",
            title="Outputs ended by a length guard",
            unit="%",
            better="lower",
        ),
        Quantity(
            key="replaced",
            title="Repeated codes drawn anew, per second",
            compared=False,
            source="VALL-E 2, repetition aware sampling",
        ),
    )

    def judge(self, sample: Sample) -> Judgement:
        """Take up what the system told of this output."""
        notes = sample.details.get("notes", {})
        values = {}
        if "cut" in notes:
            values["cut"] = (float(notes["cut"] > 0.0), 1.0)
        if "replaced" in notes:
            values["replaced"] = (float(notes["replaced"]), len(sample.output) / RATE_HZ)
        return Judgement(values=values, notes=notes)

    def conclude(self, rows: Sequence[Row]) -> list[Figure]:
        """Give nothing: every figure is a share of samples."""
        return []
