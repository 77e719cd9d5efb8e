"""Every defect is what its label says, at every strength, and harms nothing else."""

import dataclasses

import numpy as np
import pytest

from cerebench.datasets.phantom import Phantom
from cerebench.metrics.defects import DEFECTS, Material

NAMES = [defect.name for defect in DEFECTS]
M = 40


@pytest.fixture(scope="module")
def material():
    phantom = Phantom(16, rule={"train": 30, "test": 70})
    chosen = set(phantom.split(0).train)
    volumes = {(c.id in chosen, c.label): [] for c in phantom.cases()}
    for case in phantom.cases():
        volumes[case.id in chosen, case.label].append(phantom.load(case).volume)
    return Material(
        clean=volumes[False, 0][:M],
        unseen=volumes[False, 0],
        train=volumes[True, 0],
        others=volumes[False, 1],
        spacing=(2.0, 2.0, 2.0),
        seed=3,
    )


def defect(name):
    return next(d for d in DEFECTS if d.name == name)


def built(name, material):
    return [list(level.build(material)) for level in defect(name).levels_for(material)]


def change(volumes, material):
    pairs = zip(volumes, material.clean, strict=True)
    return np.mean([np.abs(v - clean).mean() for v, clean in pairs])


def among(volume, others):
    return any(np.array_equal(volume, other) for other in others)


@pytest.mark.parametrize("name", NAMES)
def test_sets_have_the_right_size_type_and_range_and_are_the_same_again(name, material):
    for level in defect(name).levels_for(material):
        first, again = level.build(material), level.build(material)
        assert len(first) == M
        for i in (0, M - 1):
            assert first[i].shape == (1, 16, 16, 16)
            assert first[i].dtype == np.float32
            assert -1 <= first[i].min() <= first[i].max() <= 1
            assert np.array_equal(first[i], again[i])


OF_VOXELS = [  # the strength of the others is a number of volumes, tested below
    d.name for d in DEFECTS if len(d.levels) > 1 and not d.copies and d.name != "few-modes"
]


@pytest.mark.parametrize("name", OF_VOXELS)
def test_a_stronger_level_changes_more(name, material):
    changes = [change(volumes, material) for volumes in built(name, material)]
    assert changes == sorted(changes)
    assert changes[0] < changes[-1]


def test_no_defect_changes_the_volumes_it_is_made_of(material):
    before = [v.copy() for v in (*material.clean, *material.train, *material.others)]
    for each in DEFECTS:
        built(each.name, material)
    after = (*material.clean, *material.train, *material.others)
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize(("name", "inside"), [("noise-background", 0), ("noise-foreground", 1)])
def test_noise_stays_where_it_belongs(name, inside, material):
    for volumes in built(name, material):
        for volume, clean in zip(volumes, material.clean, strict=True):
            changed = volume != clean
            assert not np.any(changed & ((clean > -1) != bool(inside)))


def test_noise_has_its_sd(material):
    middle = built("noise-foreground", material)[0]
    moved = np.concatenate(
        [
            (volume - clean)[(clean > -0.5) & (clean < 0.5)]
            for volume, clean in zip(middle, material.clean, strict=True)
        ]
    )
    assert moved.std() / 2 == pytest.approx(0.05, rel=0.05)


@pytest.mark.parametrize(
    ("name", "change_of_unit"),
    [
        ("gamma-below-1", lambda u: u**0.7),
        ("gamma-above-1", lambda u: u**1.4),
        ("brightness", lambda u: 0.8 * u),
    ],
)
def test_intensities_follow_their_formula_on_the_unit_range(name, change_of_unit, material):
    found = built(name, material)[-1]
    unit = (material.clean[0].astype(np.float64) + 1) / 2
    assert np.allclose((found[0] + 1) / 2, change_of_unit(unit), atol=1e-6)


def test_a_bias_field_reaches_its_strength_and_is_smooth(material):
    unit = np.full((1, 16, 16, 16), 0.0, np.float32)  # .5 on [0, 1]
    flat = Material([unit] * 2, [unit] * 2, [unit], [], (8.0,) * 3, seed=0)
    factor = defect("bias-field").levels[1].build(flat)[0] + 1
    assert factor.max() == pytest.approx(1.2, abs=1e-3)
    assert factor.min() == pytest.approx(0.8, abs=1e-3)
    assert np.abs(np.diff(factor, axis=2)).max() < 0.12


def test_ringing_leaves_no_frequency_of_the_upper_half(material):
    full = built("ringing", material)[-1]
    wide = Material([np.zeros((1, 16, 16, 16), np.float32)] * 2, [], [], [], (8.0,) * 3, 0)
    assert np.allclose(defect("ringing").levels[-1].build(wide)[0], 0, atol=1e-6)
    unclipped = next(v for v in full if v.max() < 1)
    spectrum = np.abs(np.fft.fftn(unclipped[0]))
    assert spectrum[8, :, :].mean() < 0.2 * np.abs(np.fft.fftn(material.clean[0][0]))[8].mean() + 5


def test_jitter_moves_slices_and_keeps_their_content(material):
    marked = np.full((1, 16, 16, 16), -1, np.float32)
    marked[:, :, 6:10, 6:10] = 0.5
    flat = Material([marked] * 2, [], [], [], (8.0,) * 3, seed=1)
    moved = defect("slice-jitter").levels[1].build(flat)[0]
    places = [tuple(np.argwhere(s > 0)[0]) for s in moved[0]]
    assert len(set(places)) > 5
    assert all((s > 0).sum() == 16 for s in moved[0])
    assert all(abs(h - 6) <= 2 and abs(w - 6) <= 2 for h, w in places)


def test_a_shift_moves_by_its_millimetres_in_whole_voxels(material):
    marked = np.full((1, 16, 16, 16), -1, np.float32)
    marked[0, 8, 8, 4] = 1
    flat = Material([marked] * 2, [], [], [], (2.0, 2.0, 2.0), seed=1)
    for level, step in zip(defect("shift").levels_for(flat), (1, 2, 4), strict=True):
        volume = level.build(flat)[0]
        assert np.argwhere(volume[0] > -1).tolist() == [[8, 8, 4 + step]]
    coarse = dataclasses.replace(flat, spacing=(4.0, 4.0, 4.0))
    assert [level.label for level in defect("shift").levels_for(coarse)] == ["4 mm", "8 mm"]


def test_axes_and_flips(material):
    first = material.clean[0]
    assert np.array_equal(built("axes-swapped", material)[0][0], first.transpose(0, 3, 2, 1))
    assert np.array_equal(built("flip-left-right", material)[0][0], first[..., ::-1])
    assert np.array_equal(built("flip-up-down", material)[0][0], first[:, ::-1])


def test_the_largest_are_missing_and_what_may_stay_keeps_its_place(material):
    def size(volume):
        return np.count_nonzero(volume > -1)

    sizes = sorted(size(v) for v in material.unseen)
    for share, volumes in zip((0.25, 0.5, 0.75), built("mode-drop", material), strict=True):
        limit = sizes[round((1 - share) * len(sizes)) - 1]
        assert max(map(size, volumes)) <= limit
        for volume, clean in zip(volumes, material.clean, strict=True):
            assert among(volume, material.unseen)
            assert size(clean) > limit or np.array_equal(volume, clean)


def test_there_are_as_many_distinct_volumes_as_the_label_says(material):
    for level in defect("few-modes").levels_for(material):
        distinct = {v.tobytes() for v in level.build(material)}
        assert len(distinct) == int(level.label)


def test_as_many_volumes_of_another_class_as_the_label_says(material):
    for share, volumes in zip((0.1, 0.25, 0.5), built("class-mix-up", material), strict=True):
        wrong = [v for v in volumes if among(v, material.others)]
        assert len(wrong) == round(share * M)
        assert len({v.tobytes() for v in wrong}) == len(wrong)
    assert all(among(v, material.others) for v in built("other-class", material)[0])


@pytest.mark.parametrize("name", ["copies", "copies-noisy", "copies-blurred", "copies-flipped"])
def test_as_many_copies_as_the_label_says(name, material):
    for share, volumes in zip((0.25, 0.5, 1), built(name, material), strict=True):
        own = [v for v in volumes if among(v, material.clean)]
        assert len(own) == M - round(share * M)
        if name == "copies":
            assert sum(among(v, material.train) for v in volumes) == round(share * M)


def test_noise_and_blur_keep_copies_close(material):
    for name, most in (("copies-noisy", 0.02), ("copies-blurred", 0.1)):
        for volume in built(name, material)[-1]:
            assert min(np.abs(volume - real).mean() for real in material.train) < most


def test_sets_without_anatomy(material):
    mean = built("mean-volume", material)[0]
    assert np.allclose(mean[0], np.mean(material.train, axis=0), atol=1e-6)
    assert {v.tobytes() for v in mean} == {mean[0].tobytes()}
    assert np.all(built("empty", material)[0][0] == -1)
    saturated = built("saturated", material)[0][0]
    assert np.array_equal(saturated == 1, material.clean[0] > -1)


def test_levels_that_volumes_cannot_have_are_left_out(material):
    few = Material(material.clean[:16], material.unseen, material.train, [], (8.0,) * 3, 0)
    assert [level.label for level in defect("few-modes").levels_for(few)] == ["8"]
    assert defect("class-mix-up").levels_for(few) == []
    oblong = [np.full((1, 8, 8, 4), -1, np.float32)] * 4
    assert (
        defect("axes-swapped").levels_for(Material(oblong, oblong, oblong, [], (1.0,) * 3, 0)) == []
    )
