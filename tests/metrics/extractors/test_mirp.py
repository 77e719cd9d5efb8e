"""mirp-v1: equal to radlite-v1 where both define a feature; what is asked of the package."""

import sys

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from cerebench.metrics.base import MissingExtra
from cerebench.metrics.extractors import mirp
from cerebench.metrics.extractors.mirp import Mirp
from cerebench.metrics.extractors.radlite import NAMES, Radlite

STATISTICS, COOCCURRENCE = slice(23, 41), slice(64, 89)


def blob(seed=0, size=16):
    """A textured ellipsoid, 1 at its brightest voxels, (1, D, H, W) in [-1, 1]."""
    field = gaussian_filter(np.random.RandomState(seed).standard_normal((size,) * 3), 2)
    z = np.linspace(-1, 1, size)
    inside = z[:, None, None] ** 2 + 1.5 * z[:, None] ** 2 + 2 * z**2 < 0.5
    texture = np.clip(0.5 + 0.2 * field / field.std(), 0.03, 1)
    return (2 * np.where(inside, texture, 0) - 1)[None].astype(np.float32)


@pytest.fixture(scope="module")
def sharp_and_soft():
    """A volume and the same one blurred inside its foreground, with their features."""
    pytest.importorskip("mirp")
    sharp = blob()
    soft = np.where(sharp > -0.96, gaussian_filter(sharp, 1), -1)
    batch = np.stack([sharp, soft])
    return batch, Mirp().extract(batch)


def test_shape_intensity_and_texture_equal_those_of_radlite(sharp_and_soft):
    batch, theirs = sharp_and_soft
    ours = Radlite().extract(batch)
    assert theirs.shape == (2, Mirp.dim)
    assert theirs.dtype == np.float32
    texture = [i for i, name in enumerate(NAMES[26:51]) if not name.startswith("normalised")]
    np.testing.assert_allclose(
        theirs[:, COOCCURRENCE][:, texture], ours[:, 26:51][:, texture], rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(theirs[:, 16:21], ours[:, 1:6], rtol=1e-5)  # principal axes
    energy = NAMES.index("ln energy") - 6  # theirs is not a logarithm
    same = np.delete(np.arange(18), energy)
    np.testing.assert_allclose(
        theirs[:, STATISTICS][:, same], ours[:, 6:24][:, same], rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(
        np.log(theirs[:, STATISTICS][:, energy]), ours[:, 6:24][:, energy], rtol=1e-5
    )


def test_other_families_react_to_texture(sharp_and_soft):
    a, b = sharp_and_soft[1]
    for family in (slice(41, 64), slice(89, 105), slice(105, 121)):  # histogram, runs, zones
        assert np.mean(~np.isclose(a[family], b[family], rtol=1e-3)) > 0.8


def test_empty_and_flat_volumes_have_finite_features_and_channels_follow_each_other(capsys):
    pytest.importorskip("mirp")
    empty, flat = np.full((2, 1, 12, 12, 12), -1, np.float32)
    flat[:, 3:9, 3:9, 3:9] = 0
    rows = Mirp().extract(np.stack([empty, flat]))
    assert not rows[0].any()
    assert np.isfinite(rows[1]).all()
    (pair,) = Mirp().extract(np.concatenate([empty, flat])[None])
    np.testing.assert_array_equal(pair, np.concatenate(rows))
    assert capsys.readouterr() == ("", "")


def test_another_number_of_features_is_refused(monkeypatch):
    pytest.importorskip("mirp")
    monkeypatch.setattr(mirp, "ESTIMATED", ())
    with pytest.raises(mirp.MetricError, match="returned 123 features; 121 were expected"):
        Mirp().extract(blob(size=12)[None])


def test_without_the_package_the_next_step_is_told(monkeypatch):
    def absent(name):
        raise mirp.PackageNotFoundError(name)

    monkeypatch.setattr(mirp, "version", absent)
    monkeypatch.setitem(sys.modules, "mirp", None)
    with pytest.raises(MissingExtra, match=r"pip install 'cerebench\[radiomics\]'"):
        Mirp()
