"""Presets, overrides, experiments: every value has a source, every mistake a message."""

import dataclasses
import json
import math

import pytest

from cerebench.benchmark.engine.cells import build_method, read_cell
from cerebench.benchmark.engine.registry import Registries
from cerebench.benchmark.errors import UnknownPlugin
from cerebench.benchmark.planning import experiment as experiments
from cerebench.benchmark.planning.config import (
    differences,
    override_table,
    parse_assignment,
    resolve,
    resolve_paper,
)
from cerebench.core.bounds import BadConfig
from cerebench.core.errors import UsageError
from cerebench.methods.med_ddpm import MedDDPM
from cerebench.methods.wgan_gp import WGANGP
from cerebench.metrics.downstream.controls import RealOnly
from cerebench.metrics.suites import expand

LATER = {"network", "schedule", "turns", "kept_epoch"}  # settings that 0.1.0 did not have


def test_assignments_are_toml_values_or_text():
    assert parse_assignment("wgan-gp.lr=2e-4") == ("wgan-gp", "lr", 2e-4)
    assert parse_assignment("*.precision=fp32") == ("*", "precision", "fp32")
    assert parse_assignment("a.widths=[1, 2]") == ("a", "widths", [1, 2])
    assert override_table(["a.x=1", "a.y=2", "*.x=3"]) == {"a": {"x": 1, "y": 2}, "*": {"x": 3}}


@pytest.mark.parametrize("text", ["lr=1", "wgan-gp.lr", "=3", ".x=1"])
def test_another_form_of_assignment_is_refused(text):
    with pytest.raises(UsageError, match=r"NAME\.field=value"):
        parse_assignment(text)


def test_an_override_changes_one_value_and_its_source():
    plain = resolve(WGANGP, "smoke", 16)
    changed = resolve(WGANGP, "smoke", 16, {"lr": 0.5})
    assert changed.values["lr"] == 0.5
    assert changed.sources["lr"] == "[user: --set]"
    others = {k for k in plain.values if plain.values[k] != changed.values[k]}
    assert others == {"lr"}


def test_a_misspelt_setting_gets_a_suggestion():
    with pytest.raises(BadConfig, match=r"wgan-gp has no setting 'stepps'. Did you mean 'steps'\?"):
        resolve(WGANGP, "smoke", 16, {"stepps": 3})


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("steps", "many", "wgan-gp.steps must be a whole number of at least 1, got 'many'."),
        ("steps", "3", "wgan-gp.steps must be a whole number of at least 1, got '3'."),
        ("steps", 1.5, "wgan-gp.steps must be a whole number of at least 1, got 1.5."),
        ("steps", True, "wgan-gp.steps must be a whole number of at least 1, got True."),
        ("steps", -5, "wgan-gp.steps must be a whole number of at least 1, got -5."),
        ("batch", 0, "wgan-gp.batch must be a whole number of at least 1, got 0."),
        ("lr", "fast", "wgan-gp.lr must be a number above 0, got 'fast'."),
        ("lr", math.nan, "wgan-gp.lr must be a number above 0, got nan."),
        ("lr", math.inf, "wgan-gp.lr must be a number above 0, got inf."),
        ("beta2", 1, "wgan-gp.beta2 must be a number of at least 0 and below 1, got 1."),
        ("precision", "fp8", "wgan-gp.precision must be fp32 or bf16, got 'fp8'."),
        ("head", 1, "wgan-gp.head must be dense or patch, got 1."),
    ],
)
def test_a_value_that_a_setting_does_not_accept_is_named_with_what_it_accepts(
    field, value, message
):
    with pytest.raises(BadConfig) as caught:
        resolve(WGANGP, "smoke", 16, {field: value})
    assert str(caught.value) == message


def test_a_whole_number_serves_as_any_number_and_a_list_as_a_tuple():
    resolved = resolve(WGANGP, "smoke", 16, {"steps": 4.0, "lr": 1})
    assert repr(resolved.config.steps) == "4"
    assert repr(resolved.config.lr) == "1.0"
    assert resolve(MedDDPM, "smoke", 16, {"channels": [16, 8]}).config.channels == (16, 8)


def test_an_unknown_preset_gets_a_suggestion():
    with pytest.raises(UsageError, match="Did you mean 'smoke'"):
        resolve(WGANGP, "smokes", 16)


def test_a_size_the_method_cannot_do_names_the_method():
    with pytest.raises(BadConfig, match=r"wgan-gp \(smoke\): "):
        resolve(WGANGP, "smoke", 20)


def test_differences_from_paper_name_value_and_source():
    found = differences(resolve(WGANGP, "quick", 32), resolve(WGANGP, "paper", 32))
    steps = next(d for d in found if d["setting"] == "steps")
    assert steps["paper"] == 12000
    assert steps["value"] != 12000
    assert steps["source"].startswith("[ours: ")
    assert steps["paper_source"] == WGANGP.presets["paper"].sources["steps"]


def test_a_value_of_the_paper_that_another_size_changes_is_no_longer_tagged_as_the_papers():
    own, small = resolve_paper(MedDDPM, 128), resolve_paper(MedDDPM, 32)
    assert own.sources == dict(MedDDPM.presets["paper"].sources)
    assert small.values["channels"] != own.values["channels"]
    assert small.sources["channels"] == "[ours: fitted to size 32]"
    assert small.sources["lr"] == own.sources["lr"]


def test_a_size_that_the_paper_preset_cannot_do_leaves_it_at_its_own():
    assert resolve_paper(WGANGP, 20).values == resolve_paper(WGANGP, 128).values


def test_a_later_setting_enters_keys_only_where_it_is_not_at_its_default():
    old = {f.name for f in dataclasses.fields(RealOnly.Config)} - LATER
    paper, quick = (resolve(RealOnly, preset) for preset in ("paper", "quick"))
    assert set(paper.keyed) == set(resolve(RealOnly, "smoke").keyed) == old
    assert quick.keyed == dict(quick.values)
    assert paper.values.keys() == quick.values.keys() == old | LATER
    told = {d["setting"] for d in differences(quick, paper)}
    assert told >= LATER


def test_every_shipped_experiment_is_valid():
    names = experiments.shipped()
    assert "quickstart" in names
    registries = Registries()
    assert {"midl2024", "midl2024-topk", "midl2024-neighbours"} <= set(names)
    for name in names:
        found = experiments.read(name)
        rows = experiments.select_methods(found.methods, registries.methods, found.variants)
        assert rows
        assert found.reference in ["", *rows]
        assert set(expand(found.metrics)) <= set(registries.metrics.names())
        for variant in found.variants.values():
            resolve(registries.methods.load(variant.method), found.preset, found.size, variant.set)


def test_all_means_the_papers_rows_and_every_all_installed():
    methods = Registries().methods
    assert "wgan-gp" in experiments.select_methods("all", methods)
    assert experiments.select_methods("all,wgan-gp", methods).count("wgan-gp") == 1
    assert experiments.select_methods("none", methods) == []
    assert experiments.select_methods("mine,wgan-gp", methods, ["mine"]) == ["mine", "wgan-gp"]
    with pytest.raises(UnknownPlugin, match="Did you mean 'wgan-gp'"):
        experiments.select_methods("wgan_gp", methods)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("methds = 'all'", "experiment key named 'methds'. Did you mean 'methods'"),
        ("size = 'big'", "size must be a whole number, got 'big'"),
        ("seeds = [0, 0]", "seeds must be distinct whole numbers"),
        ("samples_per_class = 1", r"samples_per_class \(-n\) must be at least 2, got 1"),
        ("variants = 3", r"variants must be written as tables, \[variants.NAME\]"),
        ("[variants.a]\nlabel = 'A'", "variants.a: method is missing"),
        ("[variants.a]\nmethd = 'b'", "variants.a: No variant key named 'methd'. Did you mean 'me"),
        ("[variants.a]\nmethod = 3", "variants.a: method must be a text, got 3"),
        ("published = [3]", r"published must be written as tables, \[\[published\]\]"),
        ("[[published]]\ntable = 'Table 1'", r"published\[0\]: title is missing"),
        ("size = ", "is not valid TOML"),
    ],
)
def test_a_bad_experiment_file_names_the_key(tmp_path, text, message):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        experiments.read(str(path))


def test_an_unknown_experiment_gets_a_suggestion():
    with pytest.raises(UsageError, match=r"Did you mean 'quickstart'\?.*Or give a TOML file"):
        experiments.read("quickstrat")


def test_small_presets_and_synthetic_data_carry_the_banner():
    def banner(synthetic, **fields):
        return experiments.Experiment("x", **fields).banner(synthetic=synthetic)

    text = "run: shows that it works, not which generator is better"
    assert banner(False, dataset="brats", preset="quick") == f"quick {text}"
    assert banner(True, dataset="phantom", preset="paper") == f"phantom {text}"
    assert banner(False, dataset="brats", preset="paper") == ""


PLAIN = """
from dataclasses import dataclass

from cerebench.methods import wgan_gp
from cerebench.methods.base import MethodInfo, setting


@dataclass(frozen=True)
class Config(wgan_gp.Config):
    steps: int = setting(2, "steps", "[ours: test]")
    lr: float = setting(1e-4, "step size", "[ours: test]")
    precision: str = setting("fp32", "autocast", "[ours: test]")


class Plain(wgan_gp.WGANGP):
    info = MethodInfo("plain", 1, "a paper", "none", "Plain")
    Config = Config
    presets = {
        name: type(preset)(Config(**{**vars(preset.config), "batch": BATCH}), preset.size)
        for name, preset in wgan_gp.WGANGP.presets.items()
    }
"""

TOO_FEW = "must be a whole number of at least 1, got"


@pytest.mark.parametrize(
    ("arguments", "lines", "message"),
    [
        (["--set", "wgan-gp.steps=-5"], "", f"wgan-gp.steps {TOO_FEW} -5."),
        (["--set", "wgan-gp.batch=0"], "", f"wgan-gp.batch {TOO_FEW} 0."),
        (["--set", "wgan-gp.lr=nan"], "", "wgan-gp.lr must be a number above 0, got nan."),
        (["--set", "wgan-gp.precision=fp8"], "", "wgan-gp.precision must be fp32 or bf16, got 'f"),
        (["--set", "*.precision=fp16"], "", "wgan-gp.precision must be fp32 or bf16, got 'fp16'."),
        (["--plugin", "plain.py", "--set", "plain.precision=fp8", "--methods", "plain"], "",
         "plain.precision must be fp32 or bf16, got 'fp8'."),
        (["--protocols", "exp2", "--set", "exp2.repeats=0"], "", f"exp2.repeats {TOO_FEW} 0."),
        (["--protocols", "exp2", "--set", "exp2.gamma=0.5"], "",
         "exp2.gamma must be 0 or a number of at least 1, got 0.5."),
        ([], "[set.wgan-gp]\nlatent = -1", f"wgan-gp.latent {TOO_FEW} -1."),
        ([], "[set.wgan-gp]\nlatent = true", f"wgan-gp.latent {TOO_FEW} True."),
        (["--methods", "mine"], "[variants.mine]\nmethod = 'wgan-gp'\nlabel = 'M'\nset.steps = 0",
         f"wgan-gp.steps {TOO_FEW} 0."),
        (["--plugin", "plain.py", "--methods", "plain"], "",
         f"plain.batch {TOO_FEW} 0 in preset 'smoke'."),
    ],
)  # fmt: skip
def test_an_impossible_value_ends_every_command_before_any_work(bench, arguments, lines, message):
    (bench.folder / "plain.py").write_text(PLAIN.replace("BATCH", "0"))
    with (bench.folder / "tiny.toml").open("a") as file:
        file.write(f"\n{lines}\n")
    code, _, error = bench("run", "tiny.toml", *arguments)
    assert code == 2
    assert message in " ".join(error.split())
    assert not (bench.folder / "runs").exists()


@pytest.fixture
def cell(tiny_run):
    (place,) = tiny_run.folder.rglob("wgan-gp-*/seed-0")
    return read_cell(place)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("steps", -5, "wgan-gp.steps must be a whole number of at least 1, got -5 in cell.json."),
        ("precision", "fp8", "wgan-gp.precision must be fp32 or bf16, got 'fp8' in cell.json."),
        ("lr", None, "wgan-gp.lr must be a number above 0, got None in cell.json."),
    ],
)
def test_a_recorded_configuration_is_checked_when_it_is_built_again(cell, field, value, message):
    values = {**resolve(WGANGP, "smoke", 16).values, field: value}
    with pytest.raises(ValueError, match="must be") as caught:
        build_method(dataclasses.replace(cell, config=values), Registries())
    assert str(caught.value) == message
    assert caught.value.exit_code == 2


def test_a_recorded_configuration_is_built_as_it_was(cell):
    resolved = resolve(MedDDPM, "smoke", 16)
    recorded = json.loads(json.dumps(resolved.values))
    cell = dataclasses.replace(cell, name="med-ddpm", config=recorded)
    assert build_method(cell, Registries()).config == resolved.config


@pytest.mark.slow
def test_a_method_of_version_0_1_runs_and_is_told_what_to_change(bench):
    (bench.folder / "plain.py").write_text(PLAIN.replace("BATCH", "2"))
    plugin = ("--plugin", "plain.py")
    code, _, error = bench(
        "run", "tiny.toml", *plugin, "--methods", "plain", "--metrics", "mmd2-kwon"
    )
    assert (code, error) == (0, error)
    code, out, _ = bench("check", "plain", *plugin, "--json")
    assert code == 4
    reasons = {row["name"]: row["reason"] for row in json.loads(out) if row["reason"]}
    assert list(reasons) == ["numeric settings say what they accept"]
    (told,) = reasons.values()
    assert told.startswith(
        "steps, lr would accept -1; write bounds as the type, for example steps:"
    )


def test_a_preset_beyond_its_settings_fails_the_check(bench):
    (bench.folder / "plain.py").write_text(
        PLAIN.replace("BATCH", "0").replace(": int", ": Count").replace(": float", ": Positive")
        .replace("import MethodInfo", "import Count, MethodInfo, Positive")
    )  # fmt: skip
    _, out, _ = bench("check", "plain", "--plugin", "plain.py", "--json")
    reasons = {row["name"]: row["reason"] for row in json.loads(out)}
    told = reasons["numeric settings say what they accept"]
    assert told == "plain.batch must be a whole number of at least 1, got 0 in preset 'paper'."
