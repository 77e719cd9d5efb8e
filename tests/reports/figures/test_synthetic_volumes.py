import numpy as np
import pytest

from cerebench.reports.base import NotDrawn
from cerebench.reports.figures import synthetic_volumes
from cerebench.reports.figures.drawing import METHODS
from cerebench.reports.statistics.classification import auc

LABELS = [0] * 6 + [1] * 6
IDS = [f"case-{i}" for i in range(12)]
GAN = "wgan-gp-quick-89abcdef/seed-0/downstream/exp2@{}.json"
DDPM = "ddpm-quick-89abcdef/seed-0/downstream/exp2@{}.json"
REAL = "_real/downstream/real-only@0.json"


def predictions(seed):
    return np.random.default_rng(seed).uniform(0, 1, 12).tolist()


def judge(runs, path, n, seed, *, epochs=4, sha="f" * 64):
    repeat = {"repeat": 0, "seed": 0, "predictions": predictions(seed), "before_finetuning": None}
    repeat["n_synthetic"] = {"pretrain": {"LGG": n, "HGG": n}} if n else {}
    repeat["n"] = repeat["n_synthetic"]
    config = {"epochs": epochs} | ({"synthetic_per_class": n} if n else {})
    test = {"ids": IDS, "patients": IDS, "labels": LABELS}
    facts = {"protocol": "exp2", "version": 1, "classes": ["LGG", "HGG"], "finetune_sha256": sha}
    facts |= {"seconds": 1.0, "device": "cpu", "notes": [], "recipe_hash": "0" * 64}
    runs.write(path, "downstream", config=config, test=test, repeats=[repeat], **facts)


@pytest.fixture
def judged(runs):
    """3D-WGAN-GP with 16 (this run), 64 and 256 volumes, 3D-DDPM with one number."""
    rows = [
        {"kind": "method", "name": name, "label": label, "cells": [{"seed": 0, "record": path}]}
        for name, label, path in (
            ("wgan-gp", "3D-WGAN-GP", GAN.format("aa")),
            ("ddpm", "3D-DDPM", DDPM.format("aa")),
        )
    ]
    only = {"kind": "protocol", "name": "real-only", "label": "Real only"}
    only["cells"] = [{"seed": None, "record": REAL}]
    common = {"version": 1, "description": "", "source": "", "preset": "quick", "unavailable": None}
    runs.contents["downstream"] = [
        common | {"name": "exp2", "label": "Experiment 2", "role": "experiment", "rows": rows,
                  "needs_samples": True, "config": {"epochs": 4, "synthetic_per_class": 16}},
        common | {"name": "real-only", "label": "Real only", "role": "control", "rows": [only],
                  "needs_samples": False, "config": {"epochs": 4}},
    ]  # fmt: skip
    for seed, (name, n) in enumerate((("aa", 16), ("bb", 256), ("cc", 64))):
        judge(runs, GAN.format(name), n, seed)
    judge(runs, DDPM.format("aa"), 16, 5)
    judge(runs, REAL, 0, 6)
    return runs


def test_a_generator_has_a_point_for_each_number_in_the_store(judged):
    figure = synthetic_volumes.draw(judged.read())
    axes = figure.axes[0]
    assert axes.get_title() == "Experiment 2"
    marks = next(line for line in axes.lines if line.get_marker() == METHODS["wgan-gp"].marker)
    assert marks.get_xdata() == pytest.approx([16, 64, 256])
    expected = [float(auc(LABELS, predictions(seed))) for seed in (0, 2, 1)]
    assert marks.get_ydata() == pytest.approx(expected)
    assert axes.get_xlabel() == "generated volumes per class"
    assert axes.xaxis.get_majorticklocs().tolist() == [16, 64, 256]


def test_protocols_without_samples_are_dotted_levels(judged):
    axes = synthetic_volumes.draw(judged.read()).axes[0]
    (level,) = (line for line in axes.lines if line.get_linestyle() == ":")
    assert level.get_ydata()[0] == pytest.approx(float(auc(LABELS, predictions(6))))
    assert axes.get_ylim()[0] < level.get_ydata()[0] < axes.get_ylim()[1]
    assert [text.get_text() for text in axes.texts] == ["Real only"]


def test_a_generator_with_one_number_is_named(judged):
    texts = " ".join(text.get_text() for text in synthetic_volumes.draw(judged.read()).texts)
    assert "Not shown: Experiment 2, 3D-DDPM (one number only)." in texts


@pytest.mark.parametrize("change", [{"epochs": 9}, {"sha": "0" * 64}])
def test_records_that_differ_in_more_than_the_number_are_left_out(judged, change):
    judge(judged, GAN.format("bb"), 256, 1, **change)
    (curve,) = synthetic_volumes.curves(judged.read())["Experiment 2"]
    assert list(curve.points) == [16, 64]


def test_one_number_is_no_curve(judged):
    for name in ("bb", "cc"):
        (judged.folder / GAN.format(name)).unlink()
    with pytest.raises(NotDrawn, match=r"--set exp2\.synthetic_per_class=N"):
        synthetic_volumes.draw(judged.read())
    del judged.contents["downstream"]
    with pytest.raises(NotDrawn, match="at least two numbers"):
        synthetic_volumes.draw(judged.read())
