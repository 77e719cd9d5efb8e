"""Plans: weight files that methods need, asked for before anything is trained; variants."""

import dataclasses
import hashlib
import json

import pytest

from cerebench.benchmark.commands.run import chosen_experiment
from cerebench.benchmark.engine.registry import Registries
from cerebench.benchmark.planning.plan import make_plan
from cerebench.core import weights
from cerebench.methods.wgan_gp import WGANGP

NEEDY = """
from dataclasses import dataclass
from typing import Literal

from cerebench.methods import wgan_gp
from cerebench.methods.base import MethodInfo, Preset, setting


@dataclass(frozen=True)
class Config(wgan_gp.Config):
    perceptual: Literal["lpips-vgg", "none"] = setting("lpips-vgg", "a term", "[ours: test]")


class Needy(wgan_gp.WGANGP):
    info = MethodInfo("needy", 1, "a paper", "none", "Needy")
    Config = Config
    presets = {
        name: Preset(Config(**vars(preset.config)), preset.size)
        for name, preset in wgan_gp.WGANGP.presets.items()
    }

    @classmethod
    def weights(cls, config):
        return ("vgg16-imagenet",) if config.perceptual == "lpips-vgg" else ()
"""
SPARED = """
    @classmethod
    def without_weights(cls):
        return {"perceptual": "none"}
"""
RUN = ("run", "tiny.toml", "--methods", "needy", "--plugin", "needy.py", "--metrics", "mmd2-kwon")


@pytest.fixture
def needy(bench, monkeypatch):
    """``bench`` beside a method that needs a weight file, and no such file anywhere."""
    for name in ("CEREBENCH_WEIGHTS_DIR", "XDG_DATA_HOME", "TORCH_HOME"):
        monkeypatch.setenv(name, str(bench.folder / "weights"))
    (bench.folder / "needy.py").write_text(NEEDY + SPARED)
    return bench


@pytest.fixture
def weight_file(needy, monkeypatch):
    """Return a file in place that passes for the one needed."""
    content = b"the right bytes"
    known = weights.KNOWN["vgg16-imagenet"]
    prefix = hashlib.sha256(content).hexdigest()[:8]
    row = dataclasses.replace(known, sha256_prefix=prefix)
    monkeypatch.setattr(weights, "KNOWN", {**weights.KNOWN, known.name: row})
    path = needy.folder / "weights" / known.file
    path.parent.mkdir()
    path.write_bytes(content)
    return path


def test_a_run_is_refused_before_anything_is_trained(needy):
    code, _, err = needy(*RUN[:3], "wgan-gp,needy", *RUN[4:], "--seeds", "0,1")
    assert code == 5
    assert err.strip() == (
        "bench: needy cannot be trained: vgg16-397923af.pth is needed (missing). Get it at "
        "https://download.pytorch.org/models/vgg16-397923af.pth and run: "
        "bench weights import FILE, or run without it: --set needy.perceptual=none"
    )
    assert not (needy.folder / "runs").exists()


def test_the_setting_that_the_refusal_names_does_without(needy):
    assert needy(*RUN, "--set", "needy.perceptual=none")[0] == 0
    assert len(list(needy.folder.glob("runs/*/needy-*/seed-0/train/*/model.safetensors"))) == 2


def test_a_method_without_such_a_setting_is_not_told_of_one(needy):
    (needy.folder / "needy.py").write_text(NEEDY)
    code, _, err = needy(*RUN)
    assert code == 5
    assert err.strip().endswith("bench weights import FILE")


def test_every_method_that_lacks_a_file_is_named(needy):
    other = (NEEDY + SPARED).replace("needy", "greedy")
    (needy.folder / "greedy.py").write_text(other)
    arguments = ("--methods", "needy,greedy", "--plugin", "greedy.py", "--plugin", "needy.py")
    code, _, err = needy("run", "tiny.toml", *arguments)
    assert code == 5
    assert "needy cannot be trained: " in err
    assert "greedy cannot be trained: " in err


def test_a_dry_run_says_so_and_ends_well(needy):
    code, out, _ = needy(*RUN, "--dry-run")
    assert code == 0
    assert "train LGG, train HGG, sample, score" in out
    assert "The run would refuse to start: needy cannot be trained: vgg16-397923af.pth" in out
    assert "--set needy.perceptual=none" in out
    (reason,) = json.loads(needy(*RUN, "--dry-run", "--json")[1])["missing_weights"]
    assert reason.startswith("needy cannot be trained: ")


def test_a_dry_run_with_the_file_in_place_warns_of_nothing(needy, weight_file):
    assert "refuse" not in needy(*RUN, "--dry-run")[1]
    assert json.loads(needy(*RUN, "--dry-run", "--json")[1])["missing_weights"] == []


def test_a_trained_method_needs_its_weights_no_more(needy, weight_file):
    assert needy(*RUN)[0] == 0
    weight_file.unlink()
    assert needy(*RUN, "--n", "12")[0] == 0
    assert len(list(needy.folder.glob("runs/*/needy-*/seed-0/sample/sub-*/anat/*.nii.gz"))) == 24
    assert needy(*RUN, "--seeds", "0,1")[0] == 5


def test_a_file_is_hashed_once_for_all_seeds(needy, weight_file, monkeypatch):
    hashed = []
    sha256 = weights.sha256_file
    monkeypatch.setattr(weights, "sha256_file", lambda path: hashed.append(path) or sha256(path))
    assert needy(*RUN, "--seeds", "0,1")[0] == 0
    assert hashed == [weight_file]


VARIANTS = """
dataset = "phantom"
size = 16
methods = ["wgan-gp", "longer", "small"]
preset = "lite"
samples_per_class = 8
metrics = ["ms-ssim"]

[split]
train = 8
test = 8

[variants.longer]
method = "wgan-gp"
label = "3D-WGAN-GP, longer"
set = { steps = 5 }

[variants.small]
method = "wgan-gp"
label = "3D-WGAN-GP, small"
preset = "smoke"
"""


def test_a_variant_has_a_preset_and_settings_of_its_own(bench):
    (bench.folder / "v.toml").write_text(VARIANTS)
    code, _, err = bench("run", "v.toml", "--dry-run", "--set", "longer.steps=7")
    assert code == 0, err
    plan = make_plan(
        chosen_experiment("v.toml", settings=["longer.steps=7", "*.batch=3"]),
        Registries(), bench.folder / "runs", bench.folder / "cache",
    )  # fmt: skip
    rows = {row.name: row for row in plan.of_kind("method")}
    assert {name: row.preset for name, row in rows.items()} == {
        "wgan-gp": "lite", "longer": "lite", "small": "smoke",
    }  # fmt: skip
    smoke = WGANGP.presets["smoke"].config
    assert rows["small"].resolved.config == dataclasses.replace(smoke, batch=3)
    assert rows["longer"].resolved.config.steps == 7
    assert rows["wgan-gp"].resolved.config.steps == WGANGP.presets["lite"].config.steps
    assert plan.heading.banner.startswith("smoke run")


def test_presets_of_different_sizes_ask_for_one(bench):
    (bench.folder / "v.toml").write_text(VARIANTS.replace("size = 16", ""))
    code, _, err = bench("run", "v.toml", "--dry-run")
    assert code == 2
    assert "small (smoke) 16" in err
    assert "Give --size." in err
