"""A cell's metrics as CSV, for spreadsheets and other people's scripts."""

from __future__ import annotations

import base64
import csv
import io

from harness.results.model import Cell

COLUMNS = (
    "metric",
    "unit",
    "value",
    "ci_low",
    "ci_high",
    "n",
    "target",
    "verdict",
    "reason",
    "better",
    "formula",
)


def metrics_csv(cell: Cell) -> str:
    """One line a metric: its columns, each label in a column of its own, the samples with spaces between."""
    labels = sorted({label for metric in cell.metrics for label in metric.labels})
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(("cell", *COLUMNS, *labels, "samples"))
    for one in cell.metrics:
        values = (
            one.name, one.unit, one.value, one.ci_low, one.ci_high, one.n, one.target, one.verdict,
            one.reason, one.better, one.formula,
        )  # fmt: skip
        row = (cell.name, *values, *(one.labels.get(label, "") for label in labels))
        writer.writerow([*("" if value is None else value for value in row), " ".join(map(str, one.samples))])
    return target.getvalue()


def csv_link(cell: Cell) -> str:
    """The CSV as a link that a browser saves, without a file beside the report."""
    return "data:text/csv;base64," + base64.b64encode(metrics_csv(cell).encode()).decode()
