"""Volumes of structures from tables and label files."""

import json

import numpy as np
import pytest

from cerebench.benchmark.planning.evaluate import of_rows
from cerebench.benchmark.stages import structures
from cerebench.core.errors import UsageError
from cerebench.datasets.base import DatasetError
from cerebench.datasets.scans.volumes import write_nifti


def table(path, *rows):
    path.write_text("\n".join(rows) + "\n")
    return path


def test_rows_are_found_by_path_or_by_file_name_with_or_without_ending(tmp_path):
    path = table(tmp_path / "t.csv", "subject,left,right", "b.nii.gz,3,4", "x/a,1,2.5", "c,9,9")
    found = structures.read(path, ["x/a", "y/b"])
    assert {name: v.tolist() for name, v in found.items()} == {"left": [1, 3], "right": [2.5, 4]}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (("case,a", "x,1"), "no row for y"),
        (("case,a", "x,1", "y,-2"), "row y: -2; 1 volumes of 0 or more"),
        (("case,a", "x,1", "y,nan"), "row y: nan"),
        (("case,a,b", "x,1,2", "y,1"), "row y: 1; 2 volumes"),
        (("case,a", "x,1", "x.nii,1", "y,1"), "names a case twice"),
        (("case,a,a", "x,1,2", "y,1,2"), "one column a structure, each once"),
    ],
)
def test_tables_that_are_none_are_refused_with_the_row(tmp_path, rows, message):
    with pytest.raises(DatasetError, match=message):
        structures.read(table(tmp_path / "t.csv", *rows), ["x", "y"])


def test_labels_are_counted_in_millilitres_and_a_missing_label_is_zero(tmp_path):
    for name, ends in (("x", (4, 6)), ("y", (2, 2))):
        labels = np.zeros((10, 10, 10), np.float32)
        labels[: ends[0]], labels[ends[0] : ends[1]] = 1, 3
        write_nifti(tmp_path / f"{name}.nii.gz", labels, (1.0, 2.0, 5.0))
    found = structures.read(tmp_path, ["x", "y"])
    assert {n: v.tolist() for n, v in found.items()} == {"label 1": [4, 2], "label 3": [2, 0]}
    with pytest.raises(DatasetError, match=r"no label file for z: expected z\.nii"):
        structures.read(tmp_path, ["x", "z"])
    write_nifti(tmp_path / "z.nii.gz", labels + 0.5, (1.0, 1.0, 1.0))
    with pytest.raises(DatasetError, match="no labels; whole numbers"):
        structures.read(tmp_path, ["z"])


def test_options_belong_to_rows(tmp_path):
    one, two = {"a": tmp_path}, {"a": tmp_path, "b": tmp_path}
    assert of_rows(["t.csv"], one) == {"a": of_rows(["a=t.csv"], two)["a"]}
    for text, rows in (("t.csv", two), ("c=t.csv", one)):
        with pytest.raises(UsageError, match="belongs to no row; give NAME=PATH"):
            of_rows([text], rows)


def test_evaluate_compares_structures_unasked_and_their_floor_too(bench):
    rng = np.random.RandomState(0)
    volumes = {}
    for name, shift in (("real", 0.0), ("mine", 2.0)):
        folder = bench.folder / name
        folder.mkdir()
        volumes[name] = rng.normal(10 + shift, 1, 8)
        for i in range(8):
            v = np.where(rng.rand(8, 8, 8) > 0.5, 0.0, -1.0).astype(np.float32)
            write_nifti(folder / f"v{i}.nii.gz", v, (1.0, 1.0, 1.0))
        rows = [f"v{i}.nii.gz,{v!r}" for i, v in enumerate(volumes[name].tolist())]
        table(bench.folder / f"{name}.csv", "subject,hippocampus", *rows)
    command = ("evaluate", "--real", "real", "--fake", "mine", "--metrics", "mae", "--floor-only")
    code, _, err = bench(*command, "--structures", "mine.csv")
    assert code == 2
    assert "give both --real-structures and --structures" in err
    tables = ("--structures", "mine.csv", "--real-structures", "real.csv")
    code, out, err = bench(*command, *tables)
    assert code == 0, err
    assert "structures" in out
    scored = {
        p.parent.parent.name: {r["view"]: r for r in json.loads(p.read_text())["rows"]}
        for p in (bench.folder / "runs").rglob("structure-volume@*.json")
    }
    assert scored["score"]["|g|"]["n_real"] == 4  # the floor: half against half
    x, y = volumes["mine"], volumes["real"]
    gap = np.abs(np.subtract.outer(np.sort(np.r_[x, y]), np.zeros(1)))  # every value once
    shares = [np.mean(s[:, None] <= gap[:, 0], axis=0) for s in (x, y)]
    assert scored["seed-0"]["KS"]["value"] == pytest.approx(np.abs(shares[0] - shares[1]).max())
