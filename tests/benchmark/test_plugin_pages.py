"""The plugins that the pages in docs/ show, taken from the pages and used by the commands."""

import json

import numpy as np
import pytest

from cerebench.benchmark.engine.registry import Registries
from cerebench.datasets.scans.volumes import write_nifti

MADE = (
    "fd-histogram",
    "fd-histogram-pca64",
    "kid-histogram",
    "prdc-histogram",
    "mmd2-rbf-histogram",
)


def test_the_method_of_the_page_passes_the_conformance_suite(bench, page_code):
    (bench.folder / "mean_volume.py").write_text(
        page_code("adding-a-method.md", "class MeanVolume")
    )
    done, out, err = bench("check", "mean-volume", "--plugin", "mean_volume.py")
    assert done == 0, out + err


@pytest.fixture
def folders(bench):
    rng = np.random.default_rng(0)
    for name, brighter in (("real", 0.0), ("mine", 0.3)):
        (bench.folder / name).mkdir()
        for i in range(12):
            volume = np.full((12, 12, 12), -1, np.float32)
            volume[3:9, 3:9, 3:9] = (
                rng.uniform(-0.5, 0.5 + 0.1 * rng.random(), (6, 6, 6)) + brighter
            )
            write_nifti(bench.folder / name / f"{i:02d}.nii.gz", volume, (2.0, 2.0, 2.0))
    return bench


def test_a_feature_space_takes_fewer_than_40_lines(page_code):
    assert page_code("adding-a-metric.md", "class Histogram").count("\n") < 40


def test_the_data_set_of_the_page_reads_its_folder(tmp_path, page_code):
    names = {"__name__": "example"}
    exec(page_code("adding-a-dataset.md", "class MyTumours"), names)
    for label, case in (("LGG", "a"), ("HGG", "b")):
        volume = np.full((40, 40, 40), -1, np.float32)
        volume[10:30, 10:30, 10:30] = np.random.default_rng(0).uniform(0, 1, (20, 20, 20))
        (tmp_path / label / case).mkdir(parents=True)
        for name, values in (("flair", volume + 1), ("seg", (volume > -1).astype(np.float32))):
            write_nifti(tmp_path / label / case / f"{name}.nii.gz", values, (1.0, 1.0, 1.0))
    data = names["MyTumours"](16, tmp_path)
    assert [(c.id, c.label) for c in data.cases()] == [("a", 0), ("b", 1)]
    assert data.load(data.cases()[0]).volume.shape == (1, 16, 16, 16)
    files = {str(p): "0" for c in data.cases() for p in c.files.values()}
    assert data.fingerprint(files) != data.fingerprint(dict.fromkeys(files, "1"))


def test_the_feature_space_of_the_page_gets_all_metrics_of_a_feature_space(folders, page_code):
    bench = folders
    (bench.folder / "histogram.py").write_text(page_code("adding-a-metric.md", "class Histogram"))
    arguments = ("--real", "real", "--fake", "mine", "--plugin", "histogram.py", "--floor-only")
    done, _, err = bench("evaluate", *arguments, "--metrics", ",".join(MADE))
    assert done == 0, err
    values = {}
    for path in (bench.folder / "runs").rglob("*histogram*@*.json"):
        if "mine-samples" in path.as_posix():
            values[json.loads(path.read_text())["metric"]] = json.loads(path.read_text())["rows"]
    assert set(values) == set(MADE)
    assert all(row["status"] == "ok" for rows in values.values() for row in rows)
    assert values["fd-histogram"][0]["facts"]["ratio"] > 3  # the brighter set is far from real
    assert values["mmd2-rbf-histogram"][0]["facts"]["permutation_p"] < 0.05


def test_the_metrics_of_a_plugin_file_are_listed_and_its_source_enters_their_keys(
    tmp_path, page_code
):
    from cerebench.benchmark.planning.planned import plan_metric

    path = tmp_path / "histogram.py"
    hashes = []
    for more in ("", "\n# changed\n"):
        path.write_text(page_code("adding-a-metric.md", "class Histogram") + more)
        registries = Registries()
        assert registries.add_plugin(str(path)) == "histogram"
        assert set(MADE) <= set(registries.metrics.names())
        assert registries.metrics.origin("kid-histogram") == "file histogram.py"
        hashes.append(plan_metric("kid-histogram", registries).recipe_hash)
    assert hashes[0] != hashes[1]


def test_the_metric_of_the_page_is_a_plugin_file(folders, page_code):
    bench = folders
    (bench.folder / "gap.py").write_text(page_code("adding-a-metric.md", "MEAN_GAP"))
    arguments = ("--real", "real", "--fake", "mine", "--plugin", "gap.py", "--floor-only")
    done, out, err = bench("evaluate", *arguments, "--metrics", "mean-gap")
    assert done == 0, err
    assert "Mean gap" in out


@pytest.mark.parametrize("name", ["fd-nothing", "prdc-rand2d-v1", "fd-inception"])
def test_a_metric_of_no_such_feature_space_is_refused(name):
    from cerebench.benchmark.errors import UnknownPlugin

    with pytest.raises(UnknownPlugin, match=f"No metric named '{name}'"):
        Registries().metrics.load(name)


def test_every_feature_space_of_the_suite_has_the_metrics_of_its_kind():
    registries = Registries()
    for extractor in registries.extractors.names():
        kinds = ("fd", "kid", "prdc", "mmd2-rbf")
        volumes = registries.extractors.facts(extractor)["ndim"] == 3
        for kind in kinds if volumes else kinds[1:2]:
            assert registries.metrics.load(f"{kind}-{extractor}").name == f"{kind}-{extractor}"


def test_the_renderer_of_the_page_is_written_by_report(finished, page_code):
    bench = finished
    text = page_code("figures.md", "JSON_LINES")
    assert text.count("\n") < 40
    (bench.folder / "json_lines.py").write_text(text)
    to = ("--format", "json-lines", "--plugin", "json_lines.py", "--to", "out")
    done, _, error = bench("report", "tiny", *to)
    assert done == 0, error
    (path,) = (bench.folder / "out").rglob("*.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert {"wgan-gp", "3D-WGAN-GP"} & {line["label"] for line in lines}
    scores = [line for line in lines if line["metric"] == "ms-ssim" and line["status"] == "ok"]
    assert scores
    assert all(0 <= line["value"] <= 1 for line in scores)


FIGURE = """
from matplotlib.figure import Figure
from cerebench.reports.base import Plot

def draw(experiment):
    figure = Figure((2, 2))
    figure.add_subplot().set_title(experiment.name)
    return figure

MINE = Plot("mine", "a title", draw)
"""


def test_a_figure_of_a_plugin_file_is_drawn_beside_the_others(finished):
    bench = finished
    (bench.folder / "mine.py").write_text(FIGURE)
    done, out, error = bench("report", "tiny", "--figure", "--plugin", "mine.py", "--to", "out")
    assert done == 0, error
    assert "tiny-mine.png" in out
    assert {p.name for p in (bench.folder / "out").rglob("*.png")} >= {
        "tiny-mine.png", "tiny-slices.png",
    }  # fmt: skip


def test_a_format_that_does_not_exist_is_refused(finished):
    done, _, error = finished("report", "tiny", "--format", "latx")
    assert done == 2
    assert "No report named 'latx'. Did you mean 'latex'?" in error


def test_an_option_is_found_by_the_name_it_had_before(finished):
    now, before = (finished("report", "tiny", word) for word in ("--recipes", "--protocol"))
    assert now[0] == before[0] == 0
    assert now[1] == before[1] != finished("report", "tiny")[1]
    assert "--recipes" in before[2]
    assert "--protocol" not in finished("report", "--help")[1]
