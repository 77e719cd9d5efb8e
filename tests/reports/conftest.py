"""Writes a small runs folder as ``bench run`` would leave it, from made-up numbers."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cerebench.core.hashing import sha256_bytes
from cerebench.reports.base import RecordedExperiment

CLASSES = ("LGG", "HGG")
UTC = "2026-01-31T12:00:00Z"
VERSIONS = {"python": "3.11.7"}
COST = {"seconds": 1.0, "peak_mib": 1.0, "device": "cpu", "precision": "fp32", "threads": 1}
WEIGHTS = {"model.safetensors": {"sha256": "0" * 64, "size": 1, "mtime_ns": 1, "ctime_ns": 1}}
# What a file of each kind has besides what a test says, and what an object in a list of it has.
WHOLE = {
    "train": COST
    | {"method": "m", "method_version": 1, "class": "LGG", "seed": 0, "steps": {}, "warnings": []}
    | {"volumes_seen": 1, "parameters": {}, "n_train": 0, "train_ids": [], "versions": VERSIONS}
    | {"files": WEIGHTS},
    "sample": {"files": {f"{i}.nii.gz": fact for i in range(128) for fact in WEIGHTS.values()}},
    "score": {"metric": "m", "metric_version": 1},
    "diagnosis": {},
    "downstream": COST
    | {"protocol": "p", "version": 1, "preset": "quick", "config": {}, "recipe_hash": "0" * 64}
    | {"classes": ["LGG", "HGG"], "positive": "HGG", "finetune_ids": [], "parameters": 1}
    | {"finetune_sha256": "0" * 64, "notes": [], "versions": VERSIONS},
    "failure": {"stage": "s", "error": "RuntimeError", "traceback": ""},
    "cell": {"name": "m", "label": "m", "seed": 0, "size": 16, "classes": ["LGG", "HGG"]}
    | {"channels": ["flair"], "spacing": [8.0] * 3, "fingerprint": "0" * 64, "scopes": []}
    | {"split": {"train": [], "test": []}, "preset": "", "config": {}, "sources": {}}
    | {"train_keys": {}, "sample_key": "", "suite_version": "0.1.0", "commit": None}
    | {"versions": VERSIONS, "hardware": {"device": "", "cpu": "", "threads": 1, "system": ""}},
}
PARTS = {
    "repeats": {"repeat": 0, "seed": 0, "epoch": 1, "validation_auc": None, "validation_ids": []}
    | {"n": {}, "n_synthetic": {}, "before_finetuning": None},
    "rows": {"replicates": {}},
}


STEPS = {"setting": "steps", "value": 300, "paper": 12000, "source": "[ours: an hour]"}
BATCH = {"setting": "batch", "value": 8, "paper": 4, "source": "[ours: speed]"}
CHANGED = [
    STEPS | {"paper_source": "[paper: table 1]"},
    BATCH | {"paper_source": "[ours: the paper does not say]"},
]


def metric(name: str, label: str, **changes: Any) -> dict[str, Any]:
    recipe = {"estimator": f"of {name}", "split": "train"}
    declared = {
        "name": name,
        "version": 1,
        "label": label,
        "better": "lower",
        "views": [""],
        "scale": 1.0,
        "never_bold": False,
        "family": "",
        "blind_to": "",
        "source": "A. Author 2020, eq. 1",
        "recipe": recipe,
        "recipe_hash": f"{sum(map(ord, name)):064x}",
        "unavailable": None,
    }
    return declared | changes


METRICS = (
    metric(
        "mmd2-kwon",
        "MMD",
        family="mmd",
        scale=1e-4,
        never_bold=True,
        blind_to="it rewards collapse: repeating the mean volume scores best.",
    ),
    metric("ms-ssim", "MS-SSIM", better="near-real", family="ms-ssim"),
    metric("fd-radlite-v2", "FD[radlite-v2]", family="frechet"),
    metric("kid-radlite-v2", "KID[radlite-v2]", scale=1e3),
    metric("nn-ratio", "NN ratio", better="near-real"),
    metric(
        "fd-rand2d-v1",
        "FD[rand2d-v1]",
        family="frechet",
        views=["axial", "coronal", "sagittal"],
    ),
    metric(
        "fid",
        "FID",
        family="frechet",
        views=["axial", "coronal", "sagittal"],
        unavailable="the Inception weights are missing. Run: bench weights import FILE.",
    ),
)
REAL = {"ms-ssim": 0.6412, "nn-ratio": 0.05}
SCORES = {  # value, standard error
    "real-heldout": {
        "mmd2-kwon": (16150.5, 110.25),
        "ms-ssim": (0.6398, 0.0123),
        "fd-radlite-v2": (8.25, 0.4),
        "kid-radlite-v2": (-0.00021, 0.0004),
        "nn-ratio": (0.05, 0.022),
        "fd-rand2d-v1": (1.5, 0.1),
    },
    "wgan-gp": {
        "mmd2-kwon": (17200.0, 120.0),
        "ms-ssim": (0.7123, 0.0123),
        "fd-radlite-v2": (31.5, 1.25),
        "kid-radlite-v2": (0.0213, 0.0011),
        "nn-ratio": (0.0, 0.0),
        "fd-rand2d-v1": (12.5, 0.75),
    },
    "ddpm": {
        "mmd2-kwon": (15900.0, 100.0),
        "ms-ssim": (0.6512, 0.0111),
        "fd-radlite-v2": (30.25, 1.5),
        "kid-radlite-v2": (5e-8, 0.0012),
        "nn-ratio": (0.0625, 0.03),
        "fd-rand2d-v1": (9.5, 0.5),
    },
    "mine": {
        "mmd2-kwon": (15000.0, 90.0),
        "ms-ssim": (0.9312, 0.0042),
        "fd-radlite-v2": (6.5, 0.5),
        "kid-radlite-v2": (0.0513, 0.0021),
        "nn-ratio": (0.125, 0.05),
        "fd-rand2d-v1": (11.0, 0.6),
    },
    "copies": {
        "mmd2-kwon": (16000.0, 111.0),
        "ms-ssim": (0.6412, 0.0121),
        "fd-radlite-v2": (0.0, 0.0),
        "kid-radlite-v2": (-0.0011, 0.0003),
        "nn-ratio": (1.0, 0.0),
        "fd-rand2d-v1": (0.0, 0.0),
    },
    "noise": {
        "mmd2-kwon": (16500.0, 115.0),
        "ms-ssim": (0.2, 0.01),
        "fd-radlite-v2": (410.0, 9.0),
        "kid-radlite-v2": (1.5, 0.02),
        "nn-ratio": (0.0, 0.0),
        "fd-rand2d-v1": (99.5, 2.5),
    },
}


class Builder:
    """A runs folder whose table of contents may be changed before it is read.

    Args:
        folder: Where to write.
        seeds: Seeds of every method.
    """

    def __init__(self, folder: Path, seeds: tuple[int, ...] = (0,)) -> None:
        self.folder, self.seeds = folder, seeds
        self.contents: dict[str, Any] = {
            "schema": 1,
            "kind": "experiment",
            "name": "made-up",
            "key": "0" * 64,
            "suite_version": "0.1.0",
            "utc": UTC,
            "title": "Made-up numbers",
            "cite": "",
            "preset": "quick",
            "seeds": list(seeds),
            "samples_per_class": 64,
            "reference": "wgan-gp",
            "banner": "quick run: shows that it works, not which generator is better",
            "dataset": {
                "name": "phantom",
                "label": "Tumour-ROI phantoms",
                "size": 32,
                "fingerprint": "0123456789abcdef" * 4,
                "classes": list(CLASSES),
                "channels": ["flair"],
                "spacing": [4.0, 4.0, 4.0],
                "synthetic": True,
                "source": "made by a seeded procedure",
                "licence": "Apache-2.0",
                "recipe": {"name": "phantom", "version": 1, "settings": {}},
                "counts": {c: {"train": 100, "test": 200} for c in CLASSES},
            },
            "metrics": [dict(m) for m in METRICS],
            "rows": [],
        }

    def control(self, name: str, label: str, role: str, note: str) -> None:
        paths = {}
        for declared in METRICS[:-1]:
            paths[declared["name"]] = f"_real/score/{name}/{declared['name']}@01234567.json"
            self.score(paths[declared["name"]], declared, name, 0)
        row = {"kind": "anchor", "name": name, "label": label, "role": role, "note": note}
        self.contents["rows"].append(row | {"scores": paths, "preview": "_real/preview.npz"})

    def method(self, name: str, label: str, **changes: Any) -> None:
        cells = [self.cell(f"{name}-quick-89abcdef/seed-{seed}", name, seed) for seed in self.seeds]
        row = {
            "kind": "method",
            "name": name,
            "label": label,
            "preset": "quick",
            "conditioning": "none",
            "source": "arXiv:1704.00028",
            "differences": CHANGED,
            "cells": cells,
        }
        self.contents["rows"].append(row | changes)

    def samples(self, name: str, label: str, like: str) -> None:
        cell = self.cell(f"{name}-samples-76543210/seed-0", like, 0) | {"train": {}}
        for left in ("train", "sample"):
            for path in sorted((self.folder / cell["folder"] / left).rglob("record.json")):
                path.unlink()
        row = {"kind": "samples", "name": name, "label": label, "preset": "", "conditioning": ""}
        self.contents["rows"].append(
            row | {"source": "folder of samples", "differences": [], "cells": [cell]}
        )

    def cell(self, folder: str, name: str, seed: int) -> dict[str, Any]:
        sampler = {"sampler": "dpmpp", "sampler_steps": 25} if name == "ddpm" else {}
        self.write(f"{folder}/cell.json", "cell", seed=seed, config={"steps": 300} | sampler)
        train = {c: f"{folder}/train/{c}/record.json" for c in CLASSES}
        for number, path in enumerate(train.values()):
            self.write(
                path,
                "train",
                seconds=100.0 + 50 * number + seed,
                cpu_seconds=180.0 + 90 * number + seed,
                cores=2,
                other_cores=0.125,
                peak_mib=812.0,
                device="cpu",
                precision="bf16",
                threads=2,
                parameters={"generator": 1_200_000, "critic": 300_000, "average": 0},
                warnings=[],
            )
        self.write(
            f"{folder}/sample/record.json",
            "sample",
            seconds=6.4,
            seconds_per_sample=0.05,
            peak_mib=300.0,
            device="cpu",
            n=dict.fromkeys(CLASSES, 64),
            clip_fraction={"LGG": 0.0001, "HGG": 0.0123},
            foreground={"LGG": 3210.5, "HGG": 4567.25},
        )
        paths = {}
        for declared in self.contents["metrics"]:
            paths[declared["name"]] = f"{folder}/score/{declared['name']}@4567cdef.json"
            if declared["unavailable"] is None and name in SCORES:
                self.score(paths[declared["name"]], declared, name, seed)
        return {
            "seed": seed,
            "folder": folder,
            "train": train,
            "sample": f"{folder}/sample/record.json",
            "preview": f"{folder}/score/preview.npz",
            "scores": paths,
        }

    def score(self, path: str, declared: dict[str, Any], name: str, seed: int) -> None:
        value, se = SCORES[name][declared["name"]]
        rows = [
            {
                "class": class_,
                "view": view,
                "value": value * (1 + 0.01 * seed) + 0.0,
                "real_value": REAL.get(declared["name"]),
                "se": se,
                "uncertainty": "delete-group jackknife, 10 groups",
                "replicates": {},
                "n_real": 100,
                "n_generated": 64,
                "notes": ["64 volumes bias a Fréchet distance upwards."]
                if declared["name"].startswith("fd")
                else [],
                "facts": {"n_pairs": 1000} if declared["name"] == "ms-ssim" else {},
                "status": "ok",
                "reason": "",
            }
            for class_ in CLASSES
            for view in declared["views"]
        ]
        facts = {"recipe": declared["recipe"], "recipe_hash": declared["recipe_hash"]}
        self.write(path, "score", metric=declared["name"], metric_version=1, rows=rows, **facts)

    def write(self, path: str, kind: str, **fields: Any) -> None:
        _, _, key8 = Path(path).stem.rpartition("@")
        record = {"schema": 1, "kind": kind, "status": "ok", "key": f"{key8:0<64}", "utc": UTC}
        for name in PARTS.keys() & fields.keys():
            fields[name] = [PARTS[name] | part for part in fields[name]]
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(record | WHOLE[kind] | fields), encoding="utf-8")

    def edit(self, path: str, **fields: Any) -> None:
        """Change fields of a record."""
        target = self.folder / path
        target.write_text(json.dumps(json.loads(target.read_text()) | fields), encoding="utf-8")

    def fail(self, path: str, reason: str) -> None:
        """Turn a stage (a record path) into a failure with everything after it not run."""
        target = self.folder / path
        cell = next(p for p in target.parents if p.name.startswith("seed-"))
        for record in (
            target,
            cell / "sample/record.json",
            *(cell / "score").glob("*.json"),
            *(cell / "diagnosis").glob("*"),
        ):
            record.unlink(missing_ok=True)
        self.write(
            f"{Path(path).parent}/failure.json", "failure", status="failed", stage="train",
            reason=reason, error="RuntimeError", traceback="",
        )  # fmt: skip

    def preview(self, path: str, level: int) -> None:
        """Write a preview with a bright corner at the front right (y, x largest)."""
        arrays: dict[str, Any] = {}
        for class_ in CLASSES:
            slices = np.full((2, 3, 16, 16), level, np.uint8)
            slices[..., 12:, 12:] = 255
            arrays[f"{class_}/axial"] = slices
            arrays[f"{class_}/ids"] = np.array(["one", "two"])
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        np.savez(target, **arrays)

    def diagnose(self, name: str, diagnostics: bool = True, maps: bool = True) -> None:
        """Give every cell of a method a diagnosis, with values that its seed shifts."""
        for cell in next(r for r in self.contents["rows"] if r["name"] == name)["cells"]:
            cell["diagnosis"] = f"{cell['folder']}/diagnosis/record.json"
            told = [d for c in CLASSES for d in self.told(c, cell["seed"])] if diagnostics else []
            self.write(cell["diagnosis"], "diagnosis", seconds=3.5, diagnostics=told, files={})
            if maps:
                path = f"{cell['folder']}/diagnosis/maps.npz"
                self.maps(path, 0.25 * cell["seed"])
                self.vouch(path)

    def vouch(self, path: str) -> None:
        """Let the record beside a file vouch for it as it is."""
        data = (self.folder / path).read_bytes()
        fact = {"sha256": sha256_bytes(data), "size": len(data), "mtime_ns": 1}
        record = (self.folder / path).with_name("record.json")
        told = json.loads(record.read_text())
        record.write_text(json.dumps(told | {"files": {Path(path).name: fact}}))

    def told(self, class_: str, seed: int) -> list[dict[str, Any]]:
        """Return a diagnostic with one value a volume and one with a single value."""
        start = seed / 64 + CLASSES.index(class_) / 8  # sums of powers of 2 are exact anywhere
        distances = {
            set_: [start + least + number**2 / 2**17 for number in range(n)]
            for set_, least, n in (("train", 0.5, 101), ("test", 0.625, 201), ("generated", 0, 61))
        }
        return [
            {
                "class": class_,
                "name": "token-hamming",
                "meaning": "fraction of tokens that differ from the nearest training volume; "
                "copies give 0",
                "values": distances,
            },
            {
                "class": class_,
                "name": "codebook-use",
                "meaning": "codes in use; few mean a collapsed codebook",
                "values": {"train": [812.0 + seed]},
            },
        ]

    def log(self, name: str, phase: str, **scalars: list[float]) -> None:
        """Leave what a method logged, the same for every class, a line a step."""
        steps = zip(*scalars.values(), strict=True)
        entries = [dict(zip(scalars, step, strict=True)) for step in steps]
        lines = [
            json.dumps({"phase": phase, "step": i, **entry}) for i, entry in enumerate(entries, 1)
        ]
        for cell in next(r for r in self.contents["rows"] if r["name"] == name)["cells"]:
            for path in cell["train"].values():
                log = (self.folder / path).parent / "log.jsonl"
                log.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def maps(self, path: str, level: float) -> None:
        """Write maps that rise to the right and have a corner of 1, front right, as slices have."""
        arrays: dict[str, Any] = {}
        for class_ in CLASSES:
            slices = np.zeros((2, 16, 16), np.uint8)
            slices[:, 3:14, 4:15] = 90
            slices[:, 12:, 12:] = 255
            importance = np.full((2, 16, 16), level, np.float32)
            importance[:] += np.linspace(0, 0.5, 16, dtype=np.float32)
            importance[:, 12:, 12:] = 1
            arrays |= {f"{class_}/axial": slices, f"{class_}/importance": importance}
            arrays[f"{class_}/ids"] = np.array(["one", "two"])
        np.savez(self.folder / path, **arrays)

    def protocol(
        self, name: str, label: str, skills: dict[str, float], role: str = "experiment", n: int = 25
    ) -> None:
        """Add a protocol with a row for each skill, how far apart it scores both classes.

        Rows are names of methods or sample folders; a protocol without samples has one, its own.
        """
        labels = {row["name"]: row["label"] for row in self.contents["rows"]}
        config = {"depth": 10, "pretrain_epochs": 4, "finetune_epochs": 8}
        rows = []
        for row in skills:
            cells = [c for r in self.contents["rows"] if r["name"] == row for c in r["cells"]]
            for cell in cells or [{"seed": None, "folder": "_real"}]:
                path = f"{cell['folder']}/downstream/{name}@01234567.json"
                self.predict(path, name, skills[row], cell["seed"] or 0, n)
            found = [
                {"seed": c["seed"], "record": f"{c['folder']}/downstream/{name}@01234567.json"}
                for c in cells or [{"seed": None, "folder": "_real"}]
            ]
            kind = ("samples" if row == "mine" else "method") if cells else "protocol"
            named = {"kind": kind, "name": row, "label": labels.get(row, label)}
            rows.append(named | {"cells": found})
        facts = {"name": name, "label": label, "version": 1, "source": "A. Author 2020, Table 2"}
        facts |= {"role": role, "needs_samples": rows[0]["kind"] != "protocol"}
        facts |= {"description": f"What {name} trains on.", "preset": "quick", "config": config}
        changed = {"setting": "depth", "value": 10, "paper": 50, "source": "[ours: seconds]"}
        changed |= {"paper_source": "[code: train.py]"}
        facts |= {"differences": [changed], "recipe_hash": f"{sum(map(ord, name)):064x}"}
        protocol = facts | {"unavailable": None, "rows": rows}
        self.contents.setdefault("downstream", []).append(protocol)

    def predict(self, path: str, name: str, skill: float, seed: int, n: int) -> None:
        """Write a downstream record of three repeats; n test cases a class."""
        labels = [0] * n + [1] * n
        cases = [f"{'LGG' if i < n else 'HGG'}-{i:03d}" for i in range(2 * n)]
        repeats = []
        for repeat in range(3):
            start = 0.03 * repeat + 0.01 * seed + skill / 30  # most noise is common, as of cases
            noise = [(start + i * 0.6180339887) % 1 for i in range(2 * n)]
            scores = [(u + skill * y) / (1 + skill) for u, y in zip(noise, labels, strict=True)]
            early = {"exp1": scores[::-1], "exp2": scores, "shuffled-label": noise}
            stages = {"pretrain": {"LGG": 64, "HGG": 64}, "finetune": {"LGG": 27, "HGG": 27}}
            made = {"pretrain": {"LGG": 64, "HGG": 64 * (name != "exp1")}}
            repeats.append(
                {
                    "repeat": repeat,
                    "seed": repeat,
                    "epoch": 1,
                    "validation_auc": 0.5,
                    "validation_ids": [],
                    "n": stages if name in ("exp1", "exp2") else {"finetune": stages["finetune"]},
                    "n_synthetic": made if name in ("exp1", "exp2") else {},
                    "before_finetuning": early.get(name),
                    "predictions": scores,
                }
            )
        self.write(
            path,
            "downstream",
            protocol=name,
            version=1,
            preset="quick",
            recipe_hash=f"{sum(map(ord, name)):064x}",
            classes=list(CLASSES),
            positive="HGG",
            test={"ids": cases, "patients": cases, "labels": labels},
            repeats=repeats,
            seconds=42.0,
            device="cpu",
            notes=[],
        )

    def read(self) -> RecordedExperiment:
        path = self.folder / "experiment-made-up-00000000.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        usual = {"version": 1, "differences": [], "recipe_hash": "0" * 64}
        told = {"downstream": [usual | one for one in self.contents.get("downstream", ())]}
        path.write_text(json.dumps(self.contents | told), encoding="utf-8")
        return RecordedExperiment.read(path)


def small(folder: Path, seeds: tuple[int, ...] = (0,)) -> Builder:
    """Two methods with scores, one that failed, a folder of samples, a floor and two controls.

    The second method has a diagnosis with maps; the one that failed lacks it.
    """
    builder = Builder(folder, seeds)
    builder.control("real-heldout", "real, held out", "floor", "real cases no generator saw.")
    builder.method("wgan-gp", "3D-WGAN-GP")
    builder.method("ddpm", "3D-DDPM", conditioning="class", source="arXiv:2006.11239")
    builder.method("broken", "3D-α-WGAN", differences=[])
    builder.diagnose("ddpm")
    builder.diagnose("broken")
    for seed in seeds:
        path = f"broken-quick-89abcdef/seed-{seed}/train/LGG/record.json"
        builder.fail(path, "out of memory at 128³\nsecond line")
    builder.samples("mine", "mine_v2 & co", like="mine")
    builder.control("copies", "training copies", "control", "must be punished by NN ratio.")
    builder.control("noise", "noise", "control", "must be punished by every metric.")
    builder.preview("_real/preview.npz", 60)
    builder.preview("wgan-gp-quick-89abcdef/seed-0/score/preview.npz", 90)
    builder.preview("ddpm-quick-89abcdef/seed-0/score/preview.npz", 120)
    return builder


@pytest.fixture
def runs(tmp_path: Path) -> Builder:
    """The small runs folder with one seed."""
    return small(tmp_path / "runs")


@pytest.fixture
def classified(runs: Builder) -> Builder:
    """The small runs folder with downstream protocols.

    3D-DDPM is far better than the reference, 3D-WGAN-GP; one method has no samples to train on, the
    record of the sample folder in exp2 failed, MedicalNet has no weights.
    """
    skills = {"wgan-gp": 0.3, "ddpm": 2.0, "broken": 0.0, "mine": 0.32}
    runs.protocol("exp1", "Experiment 1", skills)
    runs.protocol("exp2", "Experiment 2", skills | {"wgan-gp": 0.5})
    runs.protocol("trad-aug", "Trad. Aug.", {"trad-aug": 0.25}, "baseline")
    runs.protocol("medicalnet", "MedicalNet", {"medicalnet": 0.0}, "baseline")
    runs.protocol("real-only", "Real only", {"real-only": 0.2}, "control")
    runs.protocol("shuffled-label", "Shuffled label", {"wgan-gp": 0.6}, "control")
    for name in ("exp1", "exp2"):
        broken = f"broken-quick-89abcdef/seed-0/downstream/{name}@01234567.json"
        (runs.folder / broken).unlink()
    (runs.folder / "_real/downstream/medicalnet@01234567.json").unlink()
    runs.contents["downstream"][3]["unavailable"] = "the weights are missing. Run: bench weights."
    failed = "mine-samples-76543210/seed-0/downstream/exp2@01234567"
    (runs.folder / f"{failed}.json").unlink()
    reason = "too few volumes: 12 of 64 LGG"
    runs.write(f"{failed}.failure.json", "failure", stage="downstream", reason=reason)
    return runs


@pytest.fixture
def three_seeds(tmp_path: Path) -> Builder:
    """The small runs folder with three seeds, of which 3D-WGAN-GP lost the last."""
    builder = small(tmp_path / "runs", (0, 1, 2))
    builder.fail("wgan-gp-quick-89abcdef/seed-2/train/HGG/record.json", "loss is NaN at step 12")
    return builder


def unwarned(builder: Builder) -> Builder:
    """Make a folder one of large presets on real data, where rows may be called best."""
    builder.contents["banner"] = None
    for row in builder.contents["rows"]:
        if row.get("preset"):
            row["preset"] = "paper"
    for protocol in builder.contents.get("downstream", ()):
        protocol["preset"] = "paper"
    return builder


@pytest.fixture
def seeded(tmp_path: Path) -> Builder:
    """Three seeds of two methods, all there, without a banner; and what needs no generator.

    3D-DDPM is far better than the reference in experiment 1 and far worse in experiment 2.
    """
    builder = small(tmp_path / "runs", (0, 1, 2))
    builder.contents["rows"] = [r for r in builder.contents["rows"] if r["name"] != "broken"]
    builder.protocol("exp1", "Experiment 1", {"wgan-gp": 0.3, "ddpm": 2.0})
    builder.protocol("exp2", "Experiment 2", {"wgan-gp": 2.0, "ddpm": 0.3})
    builder.protocol("trad-aug", "Trad. Aug.", {"trad-aug": 0.25}, "baseline")
    return unwarned(builder)


@pytest.fixture
def golden() -> Callable[[str, str], None]:
    """Compare a text with a golden file; WRITE_GOLDEN=1 in the environment writes it instead."""

    def compare(name: str, text: str) -> None:
        path = Path(__file__).parent / "golden" / name
        if os.environ.get("WRITE_GOLDEN") == "1":
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8")

    return compare
