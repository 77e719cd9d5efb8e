"""Precision, recall, density, coverage: closed form, prdc package, null law, planted defects."""

import numpy as np
import pytest

from cerebench.metrics.features import prdc as module
from cerebench.metrics.features.prdc import PARTS, PRDC_RADLITE, expected_coverage, prdc, radii


def compute(sets):
    return {part: PRDC_RADLITE.compute(sets, part).value for part in PARTS}


def test_the_published_vector():
    found = prdc(np.array([[0.5], [10.0], [11.0]]), np.array([[0.0], [1.0], [2.0], [3.0]]), k=1)
    expected = {"precision": 1 / 3, "recall": 1.0, "density": 2 / 3, "coverage": 0.5}
    assert found == pytest.approx(expected)


def test_a_set_against_itself_is_perfect(feature_sets, draw):
    x = draw(60)
    found = compute(feature_sets(x, x))
    assert (found["precision"], found["recall"], found["coverage"]) == (1, 1, 1)
    assert found["density"] >= 1


def test_equals_the_prdc_package(draw):
    package = pytest.importorskip("prdc", reason="prdc is not installed")
    x, y = draw(70, 8) * 0.8, draw(50, 8, seed=1)
    theirs = package.compute_prdc(real_features=y, fake_features=x, nearest_k=5)
    assert prdc(x, y) == pytest.approx({k: float(v) for k, v in theirs.items()})


def test_equal_distributions_have_density_one_and_the_expected_coverage(draw):
    found = [prdc(draw(500, 16, s), draw(500, 16, 100 + s)) for s in range(3)]
    assert np.mean([f["density"] for f in found]) == pytest.approx(1, abs=0.15)
    assert np.mean([f["coverage"] for f in found]) == pytest.approx(0.969, abs=0.03)


def test_expected_coverage_depends_on_the_sizes():
    assert expected_coverage(250, 250) == pytest.approx(0.970, abs=1e-3)
    assert expected_coverage(250, 51) == pytest.approx(0.9999, abs=1e-4)


def test_unequal_sets_are_drawn_to_equal_size(feature_sets, draw):
    result = PRDC_RADLITE.compute(feature_sets(draw(250), draw(51, seed=1)), "coverage")
    assert result.facts == {"equal_n": 51, "expected_coverage": expected_coverage(51, 51)}
    assert result.value == pytest.approx(expected_coverage(51, 51), abs=0.08)
    assert result.value < 0.999  # what 250 against 51 would give


def test_blocks_change_nothing(draw, monkeypatch):
    x, y = draw(30), draw(40, seed=1)
    whole = prdc(x, y), radii(x, 5)
    monkeypatch.setattr(module, "BLOCK", 7)
    assert prdc(x, y) == whole[0]
    np.testing.assert_array_equal(radii(x, 5), whole[1])


def test_collapse_lowers_recall_and_coverage_and_not_precision(feature_sets, draw):
    train, good = draw(100), draw(100, seed=1)
    near = train[:1] + 1e-3 * draw(100, seed=2)
    clean, spoilt = compute(feature_sets(good, train)), compute(feature_sets(near, train))
    assert spoilt["precision"] == 1
    assert spoilt["recall"] < 0.1 < clean["recall"]
    assert spoilt["coverage"] < 0.2 < clean["coverage"]


def test_noise_lowers_precision_and_density(feature_sets, draw):
    train = draw(100)
    found = compute(feature_sets(10 * draw(100, seed=1), train))
    assert found["precision"] < 0.2
    assert found["density"] < 0.2


def test_copies_score_best_so_the_metric_is_blind_to_them(feature_sets, draw):
    train, good = draw(80), draw(80, seed=1)
    copied, clean = compute(feature_sets(train, train)), compute(feature_sets(good, train))
    for part in ("precision", "recall", "coverage"):
        assert copied[part] == 1 > clean[part]
    assert "copies" in PRDC_RADLITE.blind_to


def test_error_is_about_the_spread_over_draws(feature_sets, draw):
    results = [
        PRDC_RADLITE.compute(feature_sets(draw(60, 4, s), draw(60, 4, 500 + s)), "coverage")
        for s in range(25)
    ]
    ratio = np.mean([r.se for r in results]) / np.std([r.value for r in results], ddof=1)
    assert 0.5 < ratio < 2


def test_order_changes_nothing(feature_sets, draw):
    x, y = draw(33), draw(44, seed=1)
    turned = feature_sets(x[::-1], y)
    turned.generated.ids = turned.generated.ids[::-1]
    for part in PARTS:
        a = PRDC_RADLITE.compute(feature_sets(x, y), part)
        b = PRDC_RADLITE.compute(turned, part)
        assert (a.value, a.se) == pytest.approx((b.value, b.se))


def test_five_volumes_are_too_few(feature_sets, draw):
    with pytest.raises(ValueError, match="generated set has 5 volumes; at least 6"):
        PRDC_RADLITE.compute(feature_sets(draw(5), draw(20)), "recall")


def test_shares_that_no_left_out_volume_changes_have_a_binomial_error(feature_sets, draw):
    sets = feature_sets(100 + draw(21), draw(21, seed=1))
    for part in ("precision", "recall", "coverage"):
        result = PRDC_RADLITE.compute(sets, part)
        assert result.value == 0
        assert result.se == pytest.approx(np.sqrt(0.08 * 0.92 / 25))
    near = PRDC_RADLITE.compute(feature_sets(draw(21), draw(21, seed=1)), "precision")
    assert near.uncertainty.startswith("delete-group jackknife")
