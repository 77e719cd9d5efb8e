"""What a table says of facts follows from facts alone; what metrics wrote for people is printed."""

import ast
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cerebench.benchmark.engine.contents import metric_entry
from cerebench.benchmark.engine.registry import Registries
from cerebench.benchmark.planning.planned import PlannedMetric
from cerebench.benchmark.stages.scoring import _valued
from cerebench.core.records.files import as_json
from cerebench.metrics.base import MetricError, Result, Sets, VolumeSet
from cerebench.reports.base import RecordedExperiment
from cerebench.reports.tables.table import build_table
from cerebench.reports.values.frames import csv, frame
from cerebench.reports.values.tidy import values

ROOT = Path(__file__).parents[3]
SCORE = "{}-quick-89abcdef/seed-0/score/{}@4567cdef.json"


class Features:
    """Random features: one is the same everywhere, one far off in what was generated.

    One generated volume has none, as where an extractor sees no object.
    """

    def __call__(self, volumes, extractor, view):
        kind = volumes.ids[0][0]
        shape = (len(volumes), 16, 6) if view else (len(volumes), 6)
        rows = np.random.RandomState(ord(kind)).standard_normal(shape)
        rows[..., 0] = 1
        rows[..., 4] += 50 * (kind == "g")
        rows[:1] *= kind != "g"
        return rows.astype(np.float32)

    def names(self, extractor):
        return ["mean", "sd", "skewness", "energy", "contrast", "volume"]


@pytest.fixture(scope="module")
def results() -> dict[str, dict[str, Result]]:
    """Compute every metric that these sets allow, by name and view."""

    def of(kind, n):
        ids, rng = [f"{kind}{i:02d}" for i in range(n)], np.random.RandomState(ord(kind))
        volumes = [np.clip(rng.normal(0, 0.5, (1, 16, 16, 16)), -1, 1) for _ in ids]
        volumes = [
            np.where(rng.uniform(size=v.shape) < 0.3, -1, v).astype(np.float32) for v in volumes
        ]
        sizes = {name: rng.normal(10, 1, n) for name in ("Left-Thalamus", "CSF")}
        partners = [f"r{i:02d}" for i in range(n)] if kind == "g" else ()
        return VolumeSet(volumes, ids, Features(), partners, sizes)

    train = of("r", 16)
    sets = Sets(of("g", 14), train, of("t", 12), train, 0, (4.0, 4.0, 4.0))
    registry, found = Registries().metrics, {}
    for name in set(registry.names()) - {"ssim-aldm"}:  # slow, and told as by ssim
        metric, told = registry.load(name), {}
        for view in metric.views:
            try:
                told[view] = metric.compute(sets, view)
            except MetricError:
                continue
        if told:
            found[name] = told
    return found


@pytest.fixture
def tell(runs, results):
    """Return ``build_table(change of each note)``: the table of two methods with these results."""
    registry = Registries().metrics
    planned = [PlannedMetric(registry.load(name), f"{i:064x}") for i, name in enumerate(results)]
    methods = [row for row in runs.contents["rows"] if row["name"] in ("wgan-gp", "ddpm")]
    runs.contents |= {"metrics": [as_json(metric_entry(one)) for one in planned], "rows": methods}

    def make(change):
        for row in methods:
            for entry in runs.contents["metrics"]:
                told = results[entry["name"]]
                rows = [
                    as_json(_valued(replace(one, notes=notes), class_, view))
                    for class_ in ("LGG", "HGG")
                    for view, one in told.items()
                    for notes in [tuple(filter(None, map(change, one.notes)))]
                ]
                path = SCORE.format(row["name"], entry["name"])
                row["cells"][0]["scores"][entry["name"]] = path
                recipe = {"recipe": entry["recipe"], "recipe_hash": entry["recipe_hash"]}
                runs.write(path, "score", rows=rows, **recipe)
        return build_table(runs.read())

    return make


def test_most_metrics_leave_facts_and_some_leave_notes(results):
    every = [one for told in results.values() for one in told.values()]
    assert len(results) > 30
    assert sum(bool(one.facts) for one in every) > len(every) / 2
    assert sum(bool(one.notes) for one in every) > 10


@pytest.mark.parametrize(
    "change",
    [lambda note: note[::-1], lambda note: "x" * len(note), str.upper, lambda note: note + " n=3"],
    ids=["reversed", "crossed out", "upper case", "with a counter"],
)
def test_no_line_that_rests_on_facts_changes_when_every_note_is_reworded(tell, results, change):
    silent, plain, reworded = tell(lambda note: ""), tell(lambda note: note), tell(change)
    assert reworded.recipes == plain.recipes == silent.recipes
    resting = list(silent.notes)
    for table in (plain, reworded):
        assert [line for line in table.notes if line in resting] == resting
    notes = {note for told in results.values() for one in told.values() for note in one.notes}
    further = " ".join(line for line in reworded.notes if line not in resting)
    assert notes
    assert all(change(note) in further for note in notes)


def test_lines_that_rest_on_facts_are_there(tell):
    table = tell(lambda note: "")
    ruled = [line for line in table.notes if "is mostly the distance of one feature" in line]
    assert any(line.startswith("FD[radlite-v2]") for line in ruled)
    assert all("'contrast'; its share" in line and "(generated mean 4" in line for line in ruled)
    holm = [line for line in table.notes if "Holm over the" in line]
    assert any("structures: " in line and "Holm over the 4 tests" in line for line in holm)
    assert any("lesion volume: " in line and "Holm over the 2 tests" in line for line in holm)
    assert any("Left_Thalamus LGG" in line for line in holm)
    counted = [line for line in table.recipes if "over all rows recorded" in line]
    for told in ("MS-SSIM over all rows recorded n_pairs 91", "distinct_partners 14", "n_test 12"):
        assert any(told in line for line in counted), told
    assert not any("ruling_" in line for line in counted)


MAY_IMPORT_RE = {
    "benchmark/data.py": "names of files in findings, so that equal findings are one line",
    "benchmark/display.py": "exponents in superscript, on terminals that cannot show them",
    "benchmark/engine/store.py": "names of files that a stage writes, before a folder is removed",
    "benchmark/stages/checkpoints.py": "names of checkpoints, which hold their hash",
    "benchmark/conformance/fake_device.py": "names of operations of torch",
    "benchmark/commands/new.py": "the name of a new plugin, typed by the user",
    "reports/formatting.py": "line breaks of messages and labels",
    "reports/latex.py": "typesetting: numbers of any text",
    "reports/tex.py": "typesetting: sentences, slashes and long words of any text",
    "reports/markdown.py": "characters that Markdown would take for markup",
}


def imports_re(path: Path) -> bool:
    return any(
        (
            isinstance(node, ast.Import)
            and any(alias.name in ("re", "regex") for alias in node.names)
        )
        or (isinstance(node, ast.ImportFrom) and node.module in ("re", "regex"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
    )


def test_regular_expressions_read_names_and_markup_and_no_sentence():
    files = [p for folder in ("benchmark", "reports") for p in (ROOT / folder).rglob("*.py")]
    found = {p.relative_to(ROOT).as_posix() for p in files if imports_re(p)}
    assert found == set(MAY_IMPORT_RE)


def test_no_report_asks_what_a_note_or_a_reason_says():
    asking = {"match", "fullmatch", "search", "findall", "startswith", "endswith", "split"}
    asking |= {"partition", "rpartition", "find", "index", "count", "removeprefix", "isdigit"}
    for path in (ROOT / "reports").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            words = {
                getattr(part, "id", getattr(part, "attr", ""))
                for outer in (node.func.value, *node.args)
                for part in ast.walk(outer)
            }
            said = words & {"note", "notes", "reason", "reasons", "warnings", "uncertainty"}
            assert not (node.func.attr in asking and said), f"{path}:{node.lineno}"


# Records of versions without facts

OLD = [
    "n_zero_pairs=14",
    "welch_p=0.001",
    "0.91 of the distance is the feature 'range' (generated mean 0.9, real 1)",
]


def forget(runs, method, metric, notes):
    """Make a record one of a version that knew no facts."""
    path = SCORE.format(method, metric)
    rows = json.loads((runs.folder / path).read_text())["rows"]
    for row in rows:
        del row["facts"]
        row["notes"] = notes
    runs.edit(path, rows=rows)


def lines(table):
    return [line for line in table.recipes if "without facts" in line]


def test_scores_without_facts_are_named_and_their_notes_printed_unread(runs):
    assert not lines(build_table(runs.read()))
    forget(runs, "ddpm", "ms-ssim", OLD)
    forget(runs, "ddpm", "fd-radlite-v2", OLD)
    table = build_table(runs.read())
    (line,) = lines(table)
    assert line.startswith(
        "Scores recorded by an older version, without facts: "
        "MS-SSIM, FD[radlite-v2] (3D-DDPM); bench run keeps them."
    )
    assert f"MS-SSIM, FD[radlite-v2] (3D-DDPM): {'; '.join(OLD)}" in table.notes
    assert not any("Holm over" in note or "mostly the distance" in note for note in table.notes)
    assert not any("n_zero_pairs" in text for text in table.recipes)


def test_an_older_row_leaves_the_facts_of_the_others_alone(runs):
    forget(runs, "ddpm", "ms-ssim", OLD)
    rows = json.loads((runs.folder / SCORE.format("wgan-gp", "ms-ssim")).read_text())["rows"]
    for row in rows:
        row["facts"] = {"welch_p": 0.25, "n_zero_pairs": 3}
    runs.edit(SCORE.format("wgan-gp", "ms-ssim"), rows=rows)
    table = build_table(runs.read())
    (note,) = (text for text in table.notes if "Holm over" in text)
    assert "3D-WGAN-GP LGG 0.5, HGG 0.5" in note
    assert "3D-DDPM" not in note
    assert any("n_zero_pairs 3." in text for text in table.recipes)


def test_all_scores_of_a_metric_without_facts_are_named_by_the_metric_alone(runs):
    for row in runs.contents["rows"]:
        for scores in [row.get("scores", {}), *(c["scores"] for c in row.get("cells", ()))]:
            if (runs.folder / scores.get("nn-ratio", "nowhere")).is_file():
                rows = json.loads((runs.folder / scores["nn-ratio"]).read_text())["rows"]
                told = [{k: v for k, v in one.items() if k != "facts"} for one in rows]
                runs.edit(scores["nn-ratio"], rows=told)
    (line,) = lines(build_table(runs.read()))
    assert "without facts: NN ratio; bench run" in line


def test_facts_are_canonical_json_in_the_csv_and_empty_where_there_are_none(runs):
    path = SCORE.format("ddpm", "ms-ssim")
    rows = json.loads((runs.folder / path).read_text())["rows"]
    for row in rows:
        row["facts"] = {"b": 0.1 + 0.2, "a": "é", "c": None}
    runs.edit(path, rows=rows)
    forget(runs, "ddpm", "nn-ratio", OLD)
    table = frame(runs.read()).set_index(["method", "metric", "class"])["facts"]
    told = table.loc["ddpm", "ms-ssim", "LGG"]
    assert told == '{"a":"é","b":0.30000000000000004,"c":null}'
    assert table.loc["ddpm", "nn-ratio", "LGG"] == table.loc["ddpm", "peak-mib", "LGG"] == ""
    assert '"{""a"":""é"",""b"":0.30000000000000004,""c"":null}"' in csv([frame(runs.read())])


def test_a_finished_folder_of_0_1_0_opens_with_its_notes_as_they_were(tmp_path):
    with tarfile.open(ROOT / "tests/fixtures/store-0.1.0.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    tables = sorted(tmp_path.glob("runs/*/experiment-*.json"))
    assert len(tables) >= 2
    for path in tables:
        experiment = RecordedExperiment.read(path)
        scored = [v for v in values(experiment) if v.n_real is not None]
        assert scored
        assert all(v.facts is None for v in scored)
        table = build_table(experiment)
        assert len(lines(table)) == 1
        assert not any("over all rows recorded" in text for text in table.recipes)
        said = " ".join(table.notes)
        assert all(note in said for v in scored if v.status == "ok" for note in v.notes)
