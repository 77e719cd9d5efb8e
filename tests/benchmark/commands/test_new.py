"""``bench new method``: the skeleton conforms, runs, and installs as a package of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cerebench.benchmark.conformance import CHECKS


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
