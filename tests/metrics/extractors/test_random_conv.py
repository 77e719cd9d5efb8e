"""Random extractors: pinned weights and features, independence of the batch."""

import numpy as np
import pytest

from cerebench.metrics.extractors.random_conv import Rand2d, Rand3d, random_weights, weights_hash


@pytest.fixture
def asymmetric():
    """A 16^3 volume that is different along every axis."""
    z, y, x = np.indices((16, 16, 16))
    return (-1 + 2 * ((z + 2 * y + 5 * x) % 97) / 96).astype(np.float32)


@pytest.mark.parametrize(("extractor", "count"), [(Rand3d, 290_736), (Rand2d, 96_912)])
def test_weights_are_the_published_ones(extractor, count):
    weights = random_weights(extractor.seed, extractor.ndim)
    assert sum(w.size for w in weights) == count
    assert weights_hash(weights) == extractor.weights_sha256


def test_rand3d_features_pin_the_axis_order(asymmetric):
    row = Rand3d().extract(asymmetric[None, None])[0]
    golden = [0.175377, 0.030161, 0.401748, 0.232212, -0.021510]
    np.testing.assert_allclose(row[[0, 15, 16, 100, 239]], golden, atol=1e-4)
    assert row.sum() == pytest.approx(25.99968, abs=1e-4)


def test_rand2d_features_pin_the_axis_order_of_axial_slices(asymmetric):
    row = Rand2d().extract(asymmetric[5][None, None])[0]
    np.testing.assert_allclose(row[[0, 100, 239]], [0.130937, -0.233305, 0.032756], atol=1e-4)
    assert row.sum() == pytest.approx(30.34952, abs=1e-4)


def test_rand2d_features_pin_the_axis_order_of_sagittal_slices(asymmetric):
    row = Rand2d().extract(asymmetric[:, :, 5][None, None])[0]
    np.testing.assert_allclose(row[[0, 100, 239]], [0.108355, -0.111913, 0.003213], atol=1e-4)
    assert row.sum() == pytest.approx(13.05177, abs=1e-4)


@pytest.mark.parametrize(("extractor", "space"), [(Rand3d, (16,) * 3), (Rand2d, (16,) * 2)])
def test_features_do_not_depend_on_the_batch(extractor, space):
    batch = np.random.RandomState(0).uniform(-1, 1, (5, 1, *space)).astype(np.float32)
    together = extractor().extract(batch)
    alone = np.concatenate([extractor().extract(v[None]) for v in batch])
    assert together.shape == (5, 240)
    assert together.std(axis=0).min() > 0
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_channels_are_concatenated():
    batch = np.random.RandomState(1).uniform(-1, 1, (2, 2, 16, 16)).astype(np.float32)
    both = Rand2d().extract(batch)
    first = Rand2d().extract(batch[:, :1])
    np.testing.assert_allclose(both[:, :240], first, atol=1e-5)


def test_extraction_leaves_its_input_alone(asymmetric):
    before = asymmetric.copy()
    Rand3d().extract(asymmetric[None, None])
    np.testing.assert_array_equal(asymmetric, before)
