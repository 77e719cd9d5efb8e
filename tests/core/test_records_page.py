"""docs/results.md lists every field of every file, in the words of the code.

WRITE_GOLDEN=1 in the environment writes the tables anew.
"""

import dataclasses
import inspect
import os
import re
from pathlib import Path

import pytest

from cerebench.core.records import base, cells, classified, contents, data, rows, scored, trained

PAGE = Path(__file__).parents[2] / "docs/results.md"
BEGIN, END = "<!-- fields: made from core/records -->", "<!-- end of fields -->"
SECTIONS = {
    "Every file, and every record of a finished stage": (base.Head, base.RecordHead),
    "Records": (
        trained.TrainRecord,
        trained.SampleRecord,
        trained.FileFact,
        scored.ScoreRecord,
        scored.ScoreRow,
        scored.FiguresRecord,
        scored.DiagnosisRecord,
        scored.Diagnostic,
        classified.DownstreamRecord,
        classified.TestSet,
        classified.Repeat,
        trained.FitRecord,
    ),
    "Beside records": (cells.CellFile, cells.SplitIds, cells.Hardware, cells.Failure),
    "Table of contents": (
        contents.Contents,
        data.DatasetEntry,
        data.RecipeEntry,
        data.SplitEntry,
        data.Counts,
        data.LeftOut,
        contents.MetricEntry,
        rows.ControlEntry,
        rows.GeneratorRow,
        rows.Difference,
        rows.CellEntry,
        contents.ProtocolEntry,
        contents.ProtocolRow,
        contents.ProtocolCell,
        data.PublishedTable,
    ),
}
KINDS = [kind for section in SECTIONS.values() for kind in section]


def described(kind) -> dict[str, str]:
    """Return the meaning of each field, as the docstring of its class has it."""
    told = inspect.cleandoc(kind.__doc__).partition("Attributes:\n")[2]
    found = re.findall(r"^    (\w+): (.+(?:\n     .+)*)", told, flags=re.MULTILINE)
    return {name.rstrip("_"): " ".join(text.split()) for name, text in found}


def table(kind) -> str:
    named = f" `{kind.kind}`" if isinstance(getattr(kind, "kind", None), str) else ""
    lines = [f"**{kind.__name__}**{named}: {inspect.cleandoc(kind.__doc__).splitlines()[0]}", ""]
    lines += ["| field | meaning |", "|---|---|"]
    lines += [f"| `{name}` | {text} |" for name, text in described(kind).items()]
    return "\n".join(lines).replace("``", "`") + "\n"


def tables() -> str:
    sections = (
        f"### {title}\n\n" + "\n".join(map(table, kinds)) for title, kinds in SECTIONS.items()
    )
    return f"{BEGIN}\n" + "\n".join(sections) + END


def test_the_page_has_every_file_and_part():
    modules = (base, trained, scored, classified, cells, data, rows, contents)
    made = {
        kind
        for module in modules
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, base.Part) and dataclasses.fields(kind)
    }
    assert made == set(KINDS)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_field_has_a_meaning_and_every_meaning_a_field(kind):
    inherited = described(base.Head) if kind is base.RecordHead else {}
    fields = [field.name.rstrip("_") for field in dataclasses.fields(kind)]
    assert [*inherited, *described(kind)] == fields


def test_the_page_says_what_the_code_says():
    page = PAGE.read_text("utf-8")
    before, _, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert end, f"{PAGE} lacks its tables of fields"
    if os.environ.get("WRITE_GOLDEN") == "1":
        PAGE.write_text(before + tables() + after, "utf-8")
    assert PAGE.read_text("utf-8") == before + tables() + after
