"""The watch for mode collapse: MS-SSIM of pairs beside that of real volumes."""

import numpy as np
import pytest
import torch

from cerebench.methods.base import Batch
from cerebench.methods.layers.collapse import (
    TOLERANCE,
    Watch,
    similarity,
    similarity_of_real,
    window_and_weights,
)
from cerebench.metrics.voxel.pyramids import ms_ssim
from cerebench.metrics.voxel.schemes import standard_scheme


def _smooth(count, size, seed=0):
    """Return smooth random volumes with a background of -1."""
    noise = torch.from_numpy(np.random.default_rng(seed).normal(size=(count, 1, 6, 6, 6)))
    volumes = torch.nn.functional.interpolate(noise.float(), size=(size,) * 3, mode="trilinear")
    return volumes.clamp(-1, 1)


class _Rows:
    def __init__(self, images):
        self.images, self.asked = images, []

    def __len__(self):
        return len(self.images)

    def take(self, indices):
        self.asked.append(tuple(indices.tolist()))
        return Batch(self.images[indices], torch.zeros(len(indices)), None, ())


class _Phase:
    def __init__(self):
        self.logged, self.warnings = [], []

    def once(self, name, compute):
        return compute()

    def log(self, *, always, **scalars):
        assert always
        self.logged.append(scalars)

    def warn(self, text):
        self.warnings.append(text)


class _Step:
    def __init__(self, index):
        self.index = index


@pytest.mark.parametrize("size", [16, 20, 32, 48, 64, 96, 128, 176, 256])
def test_window_and_scales_are_those_of_the_metric(size):
    window, weights = window_and_weights(size)
    scheme = standard_scheme((1, size, size, size))
    assert window == len(scheme.taps)
    assert weights == pytest.approx(scheme.exponents)


@pytest.mark.parametrize("size", [16, 32, 64])
def test_similarity_is_that_of_the_metric(size):
    first, second = _smooth(2, size), _smooth(2, size, seed=1)
    second = 0.6 * first + 0.4 * second
    scheme = standard_scheme(first.shape[1:])
    expected = [ms_ssim(a.numpy(), b.numpy(), scheme) for a, b in zip(first, second, strict=True)]
    found = similarity(first, second)
    assert found.tolist() == pytest.approx(expected, abs=1e-3)
    assert found.tolist() != pytest.approx([0, 0], abs=0.1)
    assert similarity(first, first).tolist() == pytest.approx([1, 1], abs=1e-5)


def test_similarity_is_float32_under_autocast():
    first, second = _smooth(2, 16), _smooth(2, 16, seed=1)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(similarity(first, second), similarity(first, second))
        inside = similarity(first, second)
    assert torch.equal(inside, similarity(first, second))


def test_real_pairs_are_of_different_volumes_of_one_group():
    torch.manual_seed(0)
    groups = [_Rows(_smooth(3, 16)), _Rows(_smooth(4, 16, seed=1))]
    found = similarity_of_real(groups, 12)
    assert [len(g.asked) for g in groups] == [6, 6]
    assert all(a != b for g in groups for a, b in g.asked)
    assert {i for pair in groups[1].asked for i in pair} == {0, 1, 2, 3}
    pairs = [g.images[[*pair]] for g in groups for pair in g.asked]
    expected = torch.cat([similarity(p[:1], p[1:]) for p in pairs]).mean()
    assert torch.allclose(found, expected)
    assert similarity_of_real([_Rows(_smooth(1, 16))], 2).item() == pytest.approx(1, abs=1e-5)


def _watched(generate, total=7):
    torch.manual_seed(0)
    phase = _Phase()
    watch = Watch(phase, [_Rows(_smooth(6, 16))], pairs=6, every=3, total=total)
    for index in range(total):
        watch.look(_Step(index), generate)
    return phase, watch.real


def test_copies_are_a_collapse_and_varied_samples_are_not():
    same = _smooth(4, 16, seed=3)[:1].expand(4, -1, -1, -1, -1)
    phase, real = _watched(lambda: same)
    assert [scalars["ms_ssim"] for scalars in phase.logged] == pytest.approx([1, 1, 1], abs=1e-5)
    assert {scalars["ms_ssim_real"] for scalars in phase.logged} == {real}
    (text,) = phase.warnings
    assert f"(MS-SSIM 1.000, 6 pairs) more than real volumes do ({real:.3f})" in text
    seeds = iter(range(100))
    phase, real = _watched(lambda: _smooth(4, 16, seed=next(seeds)))
    assert phase.logged[-1]["ms_ssim"] < real + TOLERANCE
    assert phase.warnings == []


def test_only_the_last_measurement_warns_and_measuring_follows_the_interval():
    seen = []
    same = _smooth(1, 16, seed=3).expand(4, -1, -1, -1, -1)
    seeds = iter(range(100))

    def generate():
        seen.append(1)
        # three draws of two batches of four give at least six pairs: two draws are enough
        return same if len(seen) <= 4 else _smooth(4, 16, seed=next(seeds))

    phase, real = _watched(generate, total=6)
    assert len(phase.logged) == 2  # after 3 and 6 steps
    assert len(seen) == 8  # two pairs of batches each time
    assert phase.logged[0]["ms_ssim"] > real + TOLERANCE
    assert phase.warnings == []
