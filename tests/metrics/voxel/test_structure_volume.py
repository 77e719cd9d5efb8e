"""Volumes of structures: the worst one counts, and all together by transport."""

import numpy as np
import pytest

from cerebench.core.facts import plain
from cerebench.core.statistics import Group, tost_p, welch_p
from cerebench.metrics.base import MetricError, Sets, VolumeSet
from cerebench.metrics.voxel.lesion_volume import MARGIN, effect, ks_distance, w2_squared
from cerebench.metrics.voxel.structure_volume import PARTS, STRUCTURE_VOLUME


def sets_of(made, real, names="abcdef"):
    """Sets whose volumes of structures are the columns ``a``, ``b`` and so on."""

    def of(values, prefix):
        ids = [f"{prefix}{i}" for i in range(len(values))]
        columns = dict(zip(names, np.asarray(values, float).T, strict=False))
        return VolumeSet([None] * len(ids), ids, structures=columns)

    train = of(real, "r")
    return Sets(of(made, "g"), train, train, train, 0, (1.0, 1.0, 1.0))


def compute(made, real):
    return {part: STRUCTURE_VOLUME.compute(sets_of(made, real), part) for part in PARTS}


def test_of_several_structures_the_worst_counts_and_each_is_recorded(draw):
    real, made = draw(40, 3) + 10, draw(30, 3, seed=1) + 10
    made[:, 1] += 0.8
    found = compute(made, real)
    columns = list(zip(made.T, real.T, strict=True))
    sd = real.std(axis=0, ddof=1)
    expected = {
        "TOST p": [
            tost_p(Group.of(x), Group.of(y), MARGIN * s)
            for (x, y), s in zip(columns, sd, strict=True)
        ],
        "|g|": [effect(x, y) for x, y in columns],
        "KS": [ks_distance(x, y) for x, y in columns],
    }
    names = {"TOST p": "tost_p", "|g|": "g", "KS": "ks"}
    for part, values in expected.items():
        assert np.argmax(values) == 1
        assert found[part].value == pytest.approx(values[1], rel=1e-12)
        told = [found[part].facts[f"{names[part]}.{name}"] for name in "abc"]
        np.testing.assert_allclose(told, values, rtol=1e-12)
    assert found["|g|"].se > 0
    assert found["TOST p"].se is None
    for name, column in zip("abc", columns, strict=True):
        assert found["TOST p"].facts[f"welch_p.{name}"] == welch_p(*map(Group.of, column))
    assert found["W2²"].facts["real_sd.c"] == pytest.approx(sd[2])


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        (("Left-Thalamus", "white matter"), ("Left_Thalamus", "white_matter")),
        (("a b", "a-b"), ("1_a_b", "2_a_b")),
        (("", "x"), ("1_", "2_x")),
        (("welch_p=0.001", "dé.x"), ("welch_p_0_001", "dé_x")),
    ],
    ids=["words", "two that read alike", "no name", "not a fact of its own"],
)
def test_names_of_structures_become_slugs_and_none_is_lost(draw, names, parts):
    result = STRUCTURE_VOLUME.compute(sets_of(draw(9, 2), draw(9, 2, seed=1), names), "TOST p")
    assert set(result.facts) == {
        f"{what}.{part}" for what in ("tost_p", "welch_p") for part in parts
    }
    assert plain(result.facts) == result.facts


def test_transport_compares_all_structures_of_a_case_together(draw):
    real = draw(40, 2)
    real[:, 1] = real[:, 0] + 0.1 * real[:, 1]  # they go together
    alone = np.stack([real[:, 0], np.roll(real[:, 1], 7)], axis=1)  # the same volumes, one by one
    same, apart = compute(real, real), compute(alone, real)
    assert same["W2²"].value == pytest.approx(0, abs=1e-12)
    assert (apart["|g|"].value, apart["KS"].value) == (pytest.approx(0, abs=1e-9), 0)
    z = [(v - real.mean(0)) / real.std(0, ddof=1) for v in (alone, real)]
    assert apart["W2²"].value == pytest.approx(w2_squared(*z), rel=1e-9)
    assert apart["W2²"].value > 0.3


def test_what_is_not_known_or_not_the_same_is_refused_by_name(draw):
    nothing = sets_of(draw(5, 0), draw(5, 0))
    with pytest.raises(MetricError, match="bench evaluate --real-structures PATH"):
        STRUCTURE_VOLUME.compute(nothing, "KS")
    with pytest.raises(MetricError, match="Only one of the sets has the structures b, c"):
        STRUCTURE_VOLUME.compute(sets_of(draw(5, 1), draw(5, 3)), "KS")
    flat = draw(5, 2)
    flat[:, 1] = 3
    with pytest.raises(MetricError, match="the same volume of b"):
        STRUCTURE_VOLUME.compute(sets_of(draw(5, 2), flat), "KS")
