"""What figures show: closest training cases, intensities, volumes; partners of masked samples."""

import json

import numpy as np
import pytest

from cerebench.benchmark.stages import figure_data
from cerebench.benchmark.stages.scoring import RealSets
from cerebench.metrics.base import VolumeSet
from cerebench.metrics.memorisation.nn_ratio import NN_RATIO

CASES = 9


def volume_set(prefix, features, levels):
    """Volumes of one grey level each, and their features."""
    rows = np.array(features, np.float32)[:, None]
    volumes = [np.full((1, 4, 4, 4), level, np.float32) for level in levels]
    ids = [f"{prefix}{i}" for i in range(len(rows))]
    return VolumeSet(volumes, ids, lambda _s, _e, _v: rows)


def real_sets(**options):
    train = volume_set("t", np.arange(CASES) * 10.0, np.linspace(-0.9, 0.7, CASES))
    nobody = VolumeSet([], [])
    return RealSets({"LGG": train}, {"LGG": nobody}, train, (2.0, 3.0, 4.0), None, **options)


def test_the_closest_pairs_come_first_with_slices_distances_and_ids():
    gaps = [4.0, 0.0, 3.0, 1.0, 2.0, 4.5, 0.5, 3.5]  # from case 2, at 20
    made = volume_set("g", 20 + np.array(gaps), np.linspace(0.1, 0.8, len(gaps)))
    found = figure_data.neighbours({"LGG": made}, real_sets(), NN_RATIO)
    assert found["LGG/ids"].tolist() == [[f"g{i}", "t2"] for i in (1, 6, 3, 4, 2, 7)]
    sd = np.std(np.arange(CASES) * 10.0, ddof=1)  # features are standardised with training cases
    np.testing.assert_allclose(found["LGG/distance"] * sd, [0, 0.5, 1, 2, 3, 3.5], atol=1e-5)
    for key, level in (("generated", 0.2), ("neighbour", -0.5)):  # g1 and t2
        assert found[f"LGG/{key}"].shape == (6, 4, 4)
        assert found[f"LGG/{key}"].dtype == np.uint8
        assert (found[f"LGG/{key}"][0] == round((level + 1) * 127.5)).all()


def test_pairs_are_sought_where_the_generator_was_trained():
    made = volume_set("g", [20.0, 40.0], [0.1, 0.2])
    seen = volume_set("s", [21.0, 47.0], [0.3, 0.4])
    found = figure_data.neighbours({"LGG": made}, real_sets(seen={"LGG": seen}), NN_RATIO)
    assert found["LGG/ids"].tolist() == [["g0", "s0"], ["g1", "s1"]]


def test_a_class_without_a_distance_has_no_pairs():
    flat = volume_set("t", [1.0, 1.0], [0.1, 0.2])
    real = RealSets({"LGG": flat}, {"LGG": flat}, flat, (1.0, 1.0, 1.0), None)
    assert figure_data.neighbours({"LGG": flat}, real, NN_RATIO) == {}


def test_every_volume_adds_one_area_of_foreground_intensities_and_one_volume():
    half = np.full((1, 4, 4, 4), -1, np.float32)
    half[0, :2] = 0.5
    full = np.linspace(-0.9, 1, 64, dtype=np.float32).reshape(1, 4, 4, 4)
    empty = np.full((1, 4, 4, 4), -1, np.float32)
    group = VolumeSet([half, full, empty], ["a", "b", "c"])
    found = figure_data.distributions({"HGG": group}, (2.0, 5.0, 10.0))
    np.testing.assert_allclose(found["HGG/volume_ml"], [3.2, 6.4, 0.0])
    edges, density = found["HGG/edges"], found["HGG/intensity"]
    assert (len(edges), edges[0], edges[-1], len(density)) == (101, -1, 1, 100)
    areas = density * np.diff(edges)
    assert areas.sum() == pytest.approx(2)
    assert areas[75] == pytest.approx(1 + np.mean((full >= 0.5) & (full < 0.52)))
    assert areas[:5].sum() == pytest.approx(0)  # background is no intensity
    assert areas[-1] == pytest.approx(np.mean(full >= 0.98))  # the brightest voxel counts


def test_a_run_leaves_the_files_it_lists_and_scores_masked_samples_against_their_donors(bench):
    settings = ("--methods", "med-ddpm-mask", "--metrics", "nn-ratio,ssim,mae", "--n", "4")
    code, _, err = bench("run", "tiny.toml", *settings, "--json")
    assert code == 0, err
    (path,) = bench.folder.glob("runs/*/experiment-*.json")
    rows = json.loads(path.read_text())["rows"]
    (cell,) = next(row["cells"] for row in rows if row["kind"] == "method")
    anchor = next(row for row in rows if row["kind"] == "anchor")
    pairs, made, real = (
        np.load(path.parent / place)
        for place in (cell["neighbours"], cell["distributions"], anchor["distributions"])
    )
    train = json.loads((path.parent / cell["train"]["all"]).read_text())["train_ids"]
    donors = {
        json.loads(sidecar.read_text())["MaskOf"]
        for sidecar in (path.parent / cell["folder"]).glob("sample/sub-LGG*/anat/*.json")
    }
    mae = json.loads((path.parent / cell["scores"]["mae"]).read_text())["rows"][0]
    assert (mae["status"], mae["n_real"], mae["class"]) == ("ok", len(donors), "LGG")
    for name in ("LGG", "HGG"):
        assert pairs[f"{name}/generated"].shape == (4, 16, 16)
        assert (np.diff(pairs[f"{name}/distance"]) >= 0).all()
        assert set(pairs[f"{name}/ids"][:, 1]) <= set(train)
        assert (len(made[f"{name}/volume_ml"]), len(real[f"{name}/volume_ml"])) == (4, 12)
    # Files for figures that are missing are made again; nothing else is.
    before = (path.parent / cell["sample"]).read_bytes()
    (path.parent / cell["neighbours"]).unlink()
    assert bench("run", "tiny.toml", *settings, "--json")[0] == 0
    assert (path.parent / cell["neighbours"]).exists()
    assert (path.parent / cell["sample"]).read_bytes() == before


def test_the_case_of_highest_voxel_correlation_stands_beside_each_pair():
    rng = np.random.default_rng(0)
    cases = [rng.uniform(-1, 1, (1, 8, 8, 8)).astype(np.float32) for _ in range(4)]
    rows = np.arange(4, dtype=np.float32)[:, None]
    train = VolumeSet(cases, [f"t{i}" for i in range(4)], lambda _s, _e, _v: rows)
    # By features each is the next case; its voxels are a mirrored and a noisy copy of others.
    made = [np.flip(cases[3], 2).copy(), cases[1] + np.float32(0.05)]
    near = np.array([[0.1], [2.2]], np.float32)
    generated = VolumeSet(made, ["g0", "g1"], lambda _s, _e, _v: near)
    real = RealSets({"LGG": train}, {"LGG": VolumeSet([], [])}, train, (1.0, 1.0, 1.0), None)
    found = figure_data.neighbours({"LGG": generated}, real, NN_RATIO)
    assert found["LGG/ids"].tolist() == [["g0", "t0"], ["g1", "t2"]]
    assert found["LGG/voxel_ids"].tolist() == ["t3", "t1"]
    np.testing.assert_allclose(found["LGG/voxel_correlation"], 1, atol=1e-5)
    for i, case in enumerate((cases[3], cases[1])):
        np.testing.assert_array_equal(
            found["LGG/voxel_neighbour"][i], figure_data.centre_slice(case)
        )


def test_a_preview_has_the_centre_slices_of_three_views():
    volume = np.arange(4 * 6 * 8, dtype=np.float32).reshape(1, 4, 6, 8) / 96 - 1
    found = figure_data.preview({"LGG": VolumeSet([volume, volume], ["a", "b"])})
    levels = np.rint((volume[0] + 1) * 127.5)
    assert {key: array.shape for key, array in found.items()} == {
        "LGG/axial": (2, 3, 6, 8),
        "LGG/coronal": (2, 4, 8),
        "LGG/sagittal": (2, 4, 6),
        "LGG/ids": (2,),
    }
    np.testing.assert_array_equal(found["LGG/axial"][0, 1], levels[2])
    np.testing.assert_array_equal(found["LGG/coronal"][0], levels[:, 3])
    np.testing.assert_array_equal(found["LGG/sagittal"][0], levels[:, :, 4])
    assert found["LGG/coronal"].dtype == np.uint8
