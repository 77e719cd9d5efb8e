"""``bench new``: a skeleton conforms, runs, and installs as a package of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cerebench.benchmark.conformance.datasets import CHECKS as DATASETS
from cerebench.benchmark.conformance.methods import CHECKS


@pytest.mark.slow
def test_a_new_method_conforms_and_joins_a_run_without_an_edit(bench):
    code, out, _ = bench("new", "method", "demo")
    assert code == 0
    assert "bench check demo" in out
    plugin = ("--plugin", "demo/demo.py")
    assert bench("check", "demo", *plugin)[0] == 0
    run = ("run", "tiny.toml", "--methods", "all,demo", "--metrics", "mmd2-kwon")
    code, out, _ = bench(*run, *plugin)
    assert code == 0
    assert "Demo" in out
    assert "3D-WGAN-GP" in out
    code, out, _ = bench("check", "demo", "--plugin", "demo/demo.py", "--json")
    assert code == 0
    assert {r["reason"] for r in json.loads(out)} == {""}


def test_a_new_method_of_several_words_is_a_valid_module(bench):
    assert bench("new", "method", "my-gan-2")[0] == 0
    text = (bench.folder / "my_gan_2" / "my_gan_2.py").read_text()
    assert "class MyGan2(Method)" in text
    assert 'name="my-gan-2"' in text


def typed(line):
    """Return the arguments of a command that ``bench new`` has printed."""
    return line.split()[1:]


@pytest.mark.parametrize("name", ["demo", "my-demo-2"])
def test_a_new_dataset_conforms_and_runs_as_it_is_printed(bench, name):
    code, out, err = bench("new", "dataset", name)
    assert code == 0, err
    check, run = (typed(line) for line in out.splitlines() if line.startswith("  bench "))
    code, out, err = bench(*check)
    assert code == 0, out + err
    assert f"{name}: {len(DATASETS)} of {len(DATASETS)} checks passed" in out
    module = name.replace("-", "_")
    data = (f"{module}/example", "--dataset", name, "--plugin", f"{module}/{module}.py")
    code, out, err = bench("data", "check", *data, "--size", "16")
    assert (code, "Nothing wrong." in out) == (0, True), out + err
    few = ("--methods", "wgan-gp", "--metrics", "mmd2-linear", "--n", "4")
    code, out, err = bench(*run, *few)
    assert code == 0, err
    assert f"quickstart: on {name}; methods wgan-gp" in out


def test_a_new_metric_is_scored_beside_others(bench):
    code, out, _ = bench("new", "metric", "my-gap")
    assert code == 0
    assert "bench check my-gap --plugin my_gap/my_gap.py" in out
    plugin = ("--plugin", "my_gap/my_gap.py")
    run = ("run", "tiny.toml", "--methods", "wgan-gp", "--metrics", "mmd2-linear,my-gap")
    code, out, err = bench(*run, *plugin)
    assert code == 0, err
    assert "My Gap" in out


@pytest.mark.slow
def test_a_new_metric_is_judged_by_planted_defects(bench):
    bench("new", "metric", "my-gap")
    code, out, err = bench("check", "my-gap", "--plugin", "my_gap/my_gap.py")
    assert code == 0, out + err
    assert "My Gap" in out


@pytest.mark.parametrize("kind", ["method", "metric", "dataset"])
def test_a_name_that_is_taken_or_none_is_refused(bench, kind):
    taken = {"method": "vqgan", "metric": "ms-ssim", "dataset": "phantom"}[kind]
    for name, told in ((taken, f"A {kind} named '{taken}' is installed"), ("A b", f"a {kind}'s")):
        code, _, err = bench("new", kind, name)
        assert code == 2
        assert told in err


def test_an_existing_folder_or_name_is_not_overwritten(bench):
    bench("new", "method", "demo")
    code, _, err = bench("new", "method", "demo")
    assert code == 2
    assert "exists already" in err
    code, _, err = bench("new", "method", "wgan-gp")
    assert code == 2
    assert "is installed already" in err


@pytest.mark.slow
def test_an_installed_package_joins_through_its_entry_point(bench):
    bench("new", "method", "demo")
    site = bench.folder / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site)]
    subprocess.run([*pip, str(bench.folder / "demo")], check=True)
    elsewhere = bench.folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "tiny.toml").write_text((bench.folder / "tiny.toml").read_text())
    environment = {**os.environ, "PYTHONPATH": str(site), "CEREBENCH_CACHE": str(site / "cache")}

    def run(*arguments: str) -> str:
        command = [sys.executable, "-c", "from cerebench.benchmark.cli import main; main()"]
        done = subprocess.run(
            [*command, *arguments], cwd=elsewhere, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    listed = json.loads(run("list", "methods", "--json"))
    (demo,) = (row for row in listed if row["name"] == "demo")
    assert demo["origin"] == "package cerebench-demo 0.1.0"
    assert demo["available"] is True
    assert f"demo: {len(CHECKS)} of {len(CHECKS)} checks passed" in run("check", "demo")
    arguments = ("run", "tiny.toml", "--methods", "all,demo", "--metrics", "mmd2-kwon", "--json")
    answer = json.loads(run(*arguments))
    assert answer["failed"] == {}
    assert list(Path(elsewhere / answer["folder"]).glob("demo-smoke-*"))
