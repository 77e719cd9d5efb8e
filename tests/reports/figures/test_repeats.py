import numpy as np
import pytest

from cerebench.reports.base import NotDrawn
from cerebench.reports.figures import repeats
from cerebench.reports.figures.drawing import METHODS
from cerebench.reports.statistics.classification import auc, f1
from cerebench.reports.statistics.significance import bootstrap_interval

LABELS = [0] * 6 + [1] * 6
IDS = [f"case-{i}" for i in range(12)]
GAN = "wgan-gp-quick-89abcdef/seed-0/downstream/exp2@01234567.json"
EMPTY = {"n": {}, "n_synthetic": {}}
REAL = "_real/downstream/real-only@01234567.json"


def predictions(seed, skill=1.0):
    noise = np.random.default_rng(seed).normal(0, 1, 12)
    return (1 / (1 + np.exp(-(skill * np.array(LABELS) - skill / 2 + noise)))).tolist()


def judge(runs, path, found, before=None, **changes):
    told = [
        {"repeat": i, "seed": i, "predictions": p, "before_finetuning": before} | EMPTY
        for i, p in enumerate(found)
    ]
    test = {"ids": IDS, "patients": IDS, "labels": LABELS}
    facts = {"seconds": 1.0, "device": "cpu", "notes": [], "recipe_hash": "0" * 64}
    runs.write(path, "downstream", **({"test": test, "repeats": told} | facts | changes))


def protocol(runs, name, label, rows, *, needs=True, unavailable=None):
    runs.contents.setdefault("downstream", []).append(
        {
            "name": name, "label": label, "description": "", "source": "", "config": {},
            "role": "experiment",
            "needs_samples": needs, "preset": "quick", "unavailable": unavailable, "rows": rows,
        }
    )  # fmt: skip


def listed(name, label, path, kind="method"):
    seed = None if kind == "protocol" else 0
    return {"kind": kind, "name": name, "label": label, "cells": [{"seed": seed, "record": path}]}


@pytest.fixture
def judged(runs):
    """Experiment 2 of two generators, one of which failed, and real cases alone."""
    broken = "broken-quick-89abcdef/seed-0/downstream/exp2@01234567.json"
    rows = [listed("wgan-gp", "3D-WGAN-GP", GAN), listed("broken", "3D-α-WGAN", broken)]
    protocol(runs, "exp2", "Experiment 2", rows)
    only = [listed("real-only", "Real only", REAL, "protocol")]
    protocol(runs, "real-only", "Real only", only, needs=False)
    judge(runs, GAN, [predictions(seed) for seed in range(3)])
    judge(runs, REAL, [predictions(9)])
    runs.write(broken.replace(".json", ".failure.json"), "failure", reason="no samples\nmore")
    return runs


def drawn(axes, gid):
    return [line for line in axes.lines if line.get_gid() == gid]


def texts(figure):
    return " ".join(text.get_text() for text in figure.texts).replace("\n", " ")


@pytest.mark.parametrize(("column", "metric"), [(0, auc), (1, f1)])
def test_every_repeat_is_a_point_and_the_stroke_their_mean(judged, column, metric):
    axes = repeats.draw(judged.read()).axes[column]
    gan, real = drawn(axes, "repeats")
    expected = [float(metric(LABELS, predictions(seed))) for seed in range(3)]
    assert gan.get_xdata().tolist() == pytest.approx(expected)
    assert gan.get_color() == METHODS["wgan-gp"].colour
    assert len(set(gan.get_ydata())) == 3
    assert real.get_xdata().tolist() == pytest.approx([float(metric(LABELS, predictions(9)))])
    assert drawn(axes, "mean")[0].get_xdata() == pytest.approx([np.mean(expected)] * 2)


def test_the_bar_is_the_interval_over_patients_of_the_mean(judged):
    judge(judged, GAN, [predictions(1)] * 3)
    axes = repeats.draw(judged.read()).axes[0]
    expected = bootstrap_interval(LABELS, IDS, predictions(1), auc)
    assert tuple(drawn(axes, "interval")[0].get_xdata()) == pytest.approx(expected)
    judge(judged, GAN, [predictions(1), predictions(2, skill=5)])
    mean = drawn(repeats.draw(judged.read()).axes[0], "interval")[0].get_xdata()
    assert mean[0] > expected[0]


def test_rows_are_grouped_and_what_is_missing_is_said(judged):
    figure = repeats.draw(judged.read())
    names = [text.get_text() for text in figure.axes[0].texts]
    assert names == [
        "3D-WGAN-GP", "missing", "3D-α-WGAN", "Real only", "Experiment 2",
        "Without generated volumes",
    ]  # fmt: skip
    assert "Missing: Experiment 2, 3D-α-WGAN: failed: no samples." in texts(figure)
    assert "12 cases of 12 patients" in texts(figure)
    assert "not which generator is better" in texts(figure)


def test_seeds_of_a_generator_share_a_row(judged):
    other = GAN.replace("seed-0", "seed-1")
    judge(judged, other, [predictions(4)])
    judged.contents["downstream"][0]["rows"][0]["cells"].append({"seed": 1, "record": other})
    gan = drawn(repeats.draw(judged.read()).axes[0], "repeats")[0]
    assert len(gan.get_xdata()) == 4


def test_shuffled_labels_are_judged_before_fine_tuning(judged):
    path = GAN.replace("exp2", "shuffled-label")
    judge(judged, path, [predictions(1, skill=9)], before=predictions(5, skill=0))
    rows = [listed("wgan-gp", "3D-WGAN-GP", path)]
    protocol(judged, "shuffled-label", "Shuffled labels", rows)
    axes = repeats.draw(judged.read()).axes[0]
    expected = float(auc(LABELS, predictions(5, skill=0)))
    assert drawn(axes, "repeats")[-1].get_xdata().tolist() == pytest.approx([expected])
    assert axes.texts[-1].get_text() == "Shuffled labels, before fine-tuning"


def test_an_interval_that_cannot_be_made_is_said(judged):
    test = {"ids": IDS, "patients": ["one"] * 6 + ["two"] * 6, "labels": LABELS}
    judge(judged, REAL, [predictions(9)], test=test)
    figure = repeats.draw(judged.read())
    assert len(drawn(figure.axes[0], "interval")) == 1
    assert "No bar: A bootstrap over patients needs at least 2 of each class" in texts(figure)


def test_an_unavailable_protocol_gives_its_reason(judged):
    rows = [listed("medicalnet", "MedicalNet", "_real/downstream/medicalnet@0.json", "protocol")]
    protocol(judged, "medicalnet", "MedicalNet", rows, needs=False, unavailable="no weights. Run x")
    assert "MedicalNet: unavailable: no weights. Run x." in texts(repeats.draw(judged.read()))


def test_a_store_without_protocols_or_results_gives_no_figure(judged):
    for path in (GAN, REAL):
        (judged.folder / path).unlink()
    with pytest.raises(NotDrawn, match="no downstream protocol has a result"):
        repeats.draw(judged.read())
    del judged.contents["downstream"]
    with pytest.raises(NotDrawn, match="it has no downstream protocols"):
        repeats.draw(judged.read())
