"""The tidy rows as data frames, and as the CSV file of a report.

Image metrics and cost have the columns of ``tidy.Value``; downstream protocols stand below them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from cerebench.core.files import write_bytes
from cerebench.core.texts import harmless
from cerebench.reports.base import RecordedExperiment, Renderer, left_out
from cerebench.reports.values import downstream_tidy
from cerebench.reports.values.marks import explanation, marks
from cerebench.reports.values.tidy import Value, recipe_json, values

if TYPE_CHECKING:
    from pandas import DataFrame

# What the CSV says where a row has none: a pivot over an empty cell drops the row.
WORDS = {
    "role": "method",
    "preset": "none",
    "view": "all",
    "protocol": "none",
    "protocol_preset": "none",
    "level": "score",
}


def frame(experiment: RecordedExperiment) -> DataFrame:
    """Return every value of an experiment as a data frame, one value a row.

    Columns are the fields of ``Value``, ``class_`` as ``class``, ``facts`` as JSON (empty where
    there are none), and ``mark``: why its row is marked, as in ``values/marks.py``, or empty.
    A missing number is NaN.

    Raises:
        ReportError: If the path of a record leaves the folder.
    """
    import pandas as pd

    all_values = values(experiment)
    names = [column.name for column in fields(Value) if column.name != "replicates"]
    rows = [[getattr(value, name) for name in names] for value in all_values]
    table = pd.DataFrame(rows, columns=[name.rstrip("_") for name in names])
    table["notes"] = table["notes"].map(" | ".join)
    table["facts"] = [recipe_json(value.facts) if value.facts else "" for value in all_values]
    reasons = {row: explanation(why) for row, why in marks(experiment.contents, all_values).items()}
    table["mark"] = table["row"].map(lambda row: reasons.get(row, ""))
    floats, integers = ["value", "real_value", "se"], ["seed", "n_real", "n_generated"]
    return table.astype(dict.fromkeys(floats, "float64") | dict.fromkeys(integers, "Int64"))


def frames(experiment: RecordedExperiment) -> list[DataFrame]:
    """Return the tidy rows of image metrics and cost, and of downstream protocols if it has any.

    ``experiment`` and ``version`` (of Cerebench) come first. Where real cases were left out, a
    column ``left_out`` says how many.

    Raises:
        ReportError: As in ``frame`` and ``downstream_tidy.frame``.
    """
    tables = [frame(experiment)]
    if experiment.contents.downstream:
        further = downstream_tidy.frame(experiment)
        tables += [] if further is None else [further]
    made_by = {"experiment": experiment.name, "version": experiment.contents.suite_version}
    for table in tables:
        for place, (name, word) in enumerate(made_by.items()):
            table.insert(place, name, word)
    if missing := left_out(experiment.contents):
        tables = [table.assign(left_out=f"{missing} cases") for table in tables]
    return tables


def csv(frames: Sequence[DataFrame]) -> str:
    """Return tidy rows as CSV, full float64; ``recipe`` holds the SHA-256 of each recipe.

    What rows are told apart by is a word in every row (``WORDS``).
    """
    import pandas as pd

    table = pd.concat(frames, ignore_index=True).drop(columns="recipe")
    for name, word in WORDS.items():
        known = table[name] if name in table else pd.Series("", table.index)
        table[name] = known.fillna("").replace("", word)
    return safe_csv(table.rename(columns={"recipe_hash": "recipe"}))


def safe_csv(table: DataFrame) -> str:
    """Return a table as CSV that no spreadsheet takes for formulas; numbers in full."""
    cells = table.map(lambda cell: harmless(cell) if isinstance(cell, str) else cell)
    return cells.rename(columns=harmless).to_csv(index=False, lineterminator="\n")


def write(experiment: RecordedExperiment, folder: Path) -> list[Path]:
    """Write ``<name>.csv``: the tidy rows of the experiment.

    Raises:
        ReportError: If the path of a record leaves the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{experiment.name}.csv"
    write_bytes(path, csv(frames(experiment)).encode())
    return [path]


CSV = Renderer("csv", "tidy rows, one value a row", write)
