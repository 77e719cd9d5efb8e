"""Whatever a plugin, a terminal or a poor data set does, a run ends with its table."""

import io
import json
import sys

import pytest

from cerebench.benchmark import cli, display
from cerebench.benchmark.engine.registry import Registry
from cerebench.reports.base import Renderer

EXITS = """
import sys
from cerebench.methods.wgan_gp import WGANGP
from cerebench.methods.base import MethodInfo
{at_import}
class Leaver(WGANGP):
    info = MethodInfo("leaver", 1, "a paper", "none", "Leaver")
    def train(self, data, run):
        {in_train}
        super().train(data, run)
    def sample(self, conditions, rngs):
        {in_sample}
        return super().sample(conditions, rngs)
"""
PLACES = ("at_import", "in_train", "in_sample")


def leaver(bench, place: str, statement: str = "sys.exit()") -> str:
    """Write a plugin that leaves the program at one place; return its file."""
    filled = {name: statement if name == place else "pass" for name in PLACES}
    (bench.folder / "leaver.py").write_text(EXITS.format(**filled))
    return "leaver.py"


@pytest.mark.parametrize(
    ("place", "statement"),
    [("in_train", "sys.exit()"), ("in_train", "exit(0)"), ("in_sample", "sys.exit('bye')")],
)
def test_a_method_that_leaves_the_program_fails_and_the_others_go_on(bench, place, statement):
    plugin = leaver(bench, place, statement)
    code, out, error = bench(
        "run", "tiny.toml", "--methods", "leaver,wgan-gp", "--plugin", plugin,
        "--metrics", "ms-ssim",
    )  # fmt: skip
    assert code == 4
    assert "3D-WGAN-GP" in out
    assert "was called. Raise an error instead" in out + error
    stage = "sample" if place == "in_sample" else "train/LGG"
    (failure,) = bench.folder.glob(f"runs/*/leaver-*/seed-0/{stage}/failure.json")
    assert json.loads(failure.read_text())["error"] == "PluginExit"
    assert list(bench.folder.glob("runs/*/wgan-gp-*/seed-0/score/ms-ssim@*.json"))


@pytest.mark.parametrize(
    "statement", ["sys.exit()", "raise ValueError('no licence')", "1 / 0", "exit(3)"]
)
@pytest.mark.parametrize("command", ["run", "check", "show"])
def test_a_plugin_that_fails_in_any_way_at_import_is_named_with_its_line(bench, command, statement):
    plugin = leaver(bench, "at_import", statement)
    arguments = {
        "run": ("run", "tiny.toml", "--methods", "leaver"),
        "check": ("check", "leaver"),
        "show": ("show", "leaver"),
    }
    code, _, error = bench(*arguments[command], "--plugin", plugin)
    assert code == 2
    assert "leaver.py cannot be imported" in error
    assert "line 5" in error
    assert "Traceback" not in error


def test_the_conformance_suite_fails_a_method_that_leaves_the_program(bench):
    code, out, _ = bench("check", "leaver", "--plugin", leaver(bench, "in_train"))
    assert code == 4
    assert "sys.exit() was called" in out


@pytest.mark.slow
def test_sampling_a_cell_whose_method_leaves_the_program_is_no_success(bench):
    plugin = leaver(bench, "at_import", "pass")
    assert bench("run", "tiny.toml", "--methods", "leaver", "--plugin", plugin, "--metrics",
                 "ms-ssim")[0] == 0  # fmt: skip
    (cell,) = bench.folder.glob("runs/*/leaver-*/seed-0")
    leaver(bench, "in_sample")
    code, _, error = bench("sample", str(cell), "-n", "17", "--plugin", plugin)
    assert code == 1
    assert "sys.exit() was called" in error


def leave(*_: object) -> None:
    sys.exit(0)


@pytest.mark.parametrize("command", ["run", "evaluate"])
def test_a_metric_that_leaves_the_program_fails_alone(bench, monkeypatch, command):
    from cerebench.metrics.voxel import ms_ssim

    loaded = Registry.load

    def load(self, name):
        import dataclasses

        found = loaded(self, name)
        return dataclasses.replace(found, compute=leave) if name == "ms-ssim" else found

    assert ms_ssim is not None
    monkeypatch.setattr(Registry, "load", load)
    assert bench("run", "tiny.toml", "--metrics", "mmd2-kwon")[0] == 0
    (folder,) = bench.folder.glob("runs/*/wgan-gp-*/seed-0/sample")
    commands = {
        "run": ("run", "tiny.toml"),
        "evaluate": ("evaluate", "--real", str(folder), "--fake", f"x={folder}", "--floor-only"),
    }
    code, out, error = bench(*commands[command], "--metrics", "ms-ssim,mmd2-kwon")
    assert code == 4
    assert "MMD" in out
    assert "sys.exit(0) was called" in out + error


def test_a_report_that_fails_takes_neither_the_table_nor_the_other_formats_with_it(
    bench, monkeypatch
):
    loaded = Registry.load

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("no rows")

    broken = Renderer("latex", "nothing", fail)

    def load(self, name):
        return broken if (self.kind, name) == ("report", "latex") else loaded(self, name)

    monkeypatch.setattr(Registry, "load", load)
    code, out, error = bench("run", "tiny.toml", "--metrics", "ms-ssim")
    assert code == 1
    assert "3D-WGAN-GP" in out
    assert "The report 'latex' could not be written: ZeroDivisionError: no rows" in error
    assert list(bench.folder.glob("runs/*/report/*/tiny.md"))
    assert list(bench.folder.glob("runs/*/report/*/tiny-slices.png"))


class Terminal:
    """Standard output and error that can print only what an encoding has."""

    def __init__(self, monkeypatch, encoding: str) -> None:
        self.buffer, self.encoding = io.BytesIO(), encoding
        for name in ("stdout", "stderr"):
            stream = io.TextIOWrapper(self.buffer, encoding=encoding, write_through=True)
            monkeypatch.setattr(sys, name, stream)

    @property
    def text(self) -> str:
        return self.buffer.getvalue().decode(self.encoding)


def on(monkeypatch, encoding: str, *arguments: str) -> tuple[int, str]:
    """Run bench on such a terminal."""
    terminal = Terminal(monkeypatch, encoding)
    monkeypatch.setattr(sys, "argv", ["bench", *arguments])
    try:
        cli.main()
        code = 0
    except SystemExit as stop:
        code = stop.code or 0
    return code, terminal.text


COMMANDS = [
    ("report",), ("report", "--markdown"), ("report", "--csv"), ("list",), ("show", "alpha-wgan"),
    ("run", "tiny.toml", "--dry-run"), ("doctor",), ("run", "--help"),
    ("data", "check", "--dataset", "phantom", "--size", "16"),
]  # fmt: skip


@pytest.mark.slow
def test_every_command_prints_on_a_terminal_without_unicode(bench, monkeypatch):
    code, text = on(monkeypatch, "ascii", "run", "tiny.toml", "--metrics", "ms-ssim,mmd2-kwon")
    assert code == 0
    assert "3D-WGAN-GP" in text
    assert "Traceback" not in text
    for arguments in COMMANDS:
        code, text = on(monkeypatch, "ascii", *arguments)
        assert code == 0
        assert text.strip()
    for encoding in ("latin-1", "cp1252", "cp437"):
        assert on(monkeypatch, encoding, "report")[0] == 0
    code, text = on(monkeypatch, "utf-8", "check", "a-name\udcff")  # bytes that are no UTF-8
    assert code == 2
    assert "a-name" in text


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("0.61 ± 0.02", "0.61 +/- 0.02"),
        ("FD ↓ ×10⁻³", "FD v x10^-3"),
        ("3D-α-WGAN · Müller …", "3D-alpha-WGAN - Muller ..."),
        ("中", "\\u4e2d"),
    ],
)
def test_characters_that_a_terminal_lacks_are_spelled(text, plain):
    buffer = io.BytesIO()
    stream = io.TextIOWrapper(buffer, encoding="ascii")
    display.print_with_replacements(stream)
    stream.write(text)
    stream.flush()
    assert buffer.getvalue().decode() == plain


def test_classifiers_that_need_no_samples_run_without_a_generator(bench):
    arguments = ("run", "tiny.toml", "--methods", "none", "--protocols", "real-only")
    assert "real-only" in bench(*arguments, "--dry-run")[1].lower().replace(
        "real only", "real-only"
    )
    code, out, _ = bench(*arguments)
    assert code == 0
    assert "Real only" in out
    assert "LGG\n" not in out  # no table of generators without a row
    (record,) = bench.folder.glob("runs/*/_real/downstream/real-only@*.json")
    assert json.loads(record.read_text())["status"] == "ok"
    assert not list(bench.folder.glob("runs/*/_real/score/*/*.json"))


@pytest.mark.parametrize("protocols", ["none", "exp1"])
def test_without_anything_to_compare_a_run_says_what_to_give(bench, protocols):
    code, _, error = bench("run", "tiny.toml", "--methods", "none", "--protocols", protocols)
    assert code == 2
    assert "--protocols real-only" in error


QUICK = ("run", "tiny.toml", "--metrics", "ms-ssim,nn-ratio")


def test_a_run_ends_with_what_to_type_for_more_and_tells_of_earlier_runs(bench):
    code, first, _ = bench(*QUICK)
    assert code == 0
    assert "Full tables: bench report tiny\n" in first
    for option in ("--notes", "--all-columns", "--diagnostics"):
        assert option in first
    assert "NN ratio: share of volumes" in first
    assert "Earlier runs" not in first
    code, second, _ = bench(*QUICK, "--set", "wgan-gp.steps=3")
    assert code == 0
    assert "Earlier runs of this name held more: bench report tiny --all\n" in second
    _, table, _ = bench("report", "--rows", "all")
    assert "3D-WGAN-GP (smoke, steps 2)" in table
    assert "3D-WGAN-GP (smoke, steps 3)" in table


def test_a_run_with_a_folder_of_samples_does_not_point_to_the_table_that_it_printed(bench):
    assert bench(*QUICK)[0] == 0
    (samples,) = bench.folder.glob("runs/*/wgan-gp-*/seed-0/sample")
    code, out, _ = bench(*QUICK, "--methods", "none", "--samples", f"mine={samples}")
    assert code == 0
    assert "Full tables: bench report" not in out
    assert "mine: source " in " ".join(out.split())
    assert "bench report tiny shows more with" in out
    assert "Figures and tables in" in out
