"""SqueezeNet: layout, loading, features by plain arithmetic, percentiles, refusals."""

import dataclasses
import socket
import sys

import numpy as np
import pytest
import torch
from monai.transforms import ScaleIntensityRangePercentiles
from torch.nn import functional

from cerebench.core import weights
from cerebench.core.hashing import sha256_file
from cerebench.metrics.base import MetricError, MissingWeights
from cerebench.metrics.extractors import squeezenet
from cerebench.metrics.extractors.squeezenet import (
    WEIGHTS,
    SqueezeNet,
    SqueezeNetVLM3D,
    build_network,
    by_percentiles,
    load_network,
    preprocess,
)


@pytest.fixture(scope="module")
def weight_file(tmp_path_factory):
    """Random weights with the published names and shapes."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / weights.KNOWN[WEIGHTS].file
    torch.save(build_network().state_dict(), path)
    return path


@pytest.fixture
def trusted(weight_file, monkeypatch):
    """The random file passes for the published one; nothing may connect."""
    known = dataclasses.replace(weights.KNOWN[WEIGHTS], sha256_prefix=sha256_file(weight_file)[:8])
    monkeypatch.setattr(weights, "KNOWN", {WEIGHTS: known})
    monkeypatch.setenv("CEREBENCH_WEIGHTS_DIR", str(weight_file.parent))

    def refuse(*_args, **_kwargs):
        raise AssertionError("network access")

    monkeypatch.setattr(socket, "socket", refuse)


def test_counts_and_layout_are_those_of_the_published_network():
    with torch.device("meta"):
        network = build_network()
    assert sum(p.numel() for p in network.parameters()) == 1_235_496
    assert sum(p.numel() for p in network.features.parameters()) == 722_496
    layout = weights.layout_hash((n, tuple(t.shape)) for n, t in network.state_dict().items())
    assert weights.KNOWN[WEIGHTS].layout_sha256 == layout


def by_hand(state, x):
    """SqueezeNet 1.1 written out: convolution, eight Fire modules, three poolings, mean."""

    def conv(name, x, **options):
        return functional.conv2d(
            x, state[f"{name}.weight"], state[f"{name}.bias"], **options
        ).relu()

    def pool(x):
        return functional.max_pool2d(x, 3, 2, ceil_mode=True)

    x = pool(conv("features.0", x, stride=2))
    for number in (3, 4, 6, 7, 9, 10, 11, 12):
        if number in (6, 9):
            x = pool(x)
        x = conv(f"features.{number}.squeeze", x)
        wide = conv(f"features.{number}.expand3x3", x, padding=1)
        x = torch.cat([conv(f"features.{number}.expand1x1", x), wide], 1)
    return x.mean((2, 3))


def test_features_equal_the_network_written_out(trusted, weight_file):
    batch = np.random.RandomState(0).uniform(-1, 1, (3, 1, 20, 24)).astype(np.float32)
    state = torch.load(weight_file, weights_only=True)
    sized = functional.interpolate(torch.from_numpy(batch), (224, 224), mode="bilinear")
    mean, sd = (
        torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    expected = by_hand(state, ((sized + 1) / 2).expand(-1, 3, -1, -1).sub(mean).div(sd))
    found = SqueezeNet().extract(batch)
    assert found.shape == (3, SqueezeNet.dim)
    assert found.dtype == np.float32
    assert np.ptp(found, axis=0).max() > 1e-3
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_normalisation_is_torchvisions():
    from torchvision.models import SqueezeNet1_1_Weights
    from torchvision.transforms.functional import normalize

    stated = SqueezeNet1_1_Weights.IMAGENET1K_V1.transforms()
    x = torch.rand(2, 1, 224, 224, generator=torch.Generator().manual_seed(0)) * 2 - 1
    expected = normalize(((x + 1) / 2).expand(-1, 3, -1, -1), stated.mean, stated.std)
    torch.testing.assert_close(preprocess(x), expected)
    assert stated.crop_size == [squeezenet.SIDE]


def test_features_do_not_depend_on_the_batch_and_carry_the_files_hash(trusted, weight_file):
    extractor = SqueezeNet()
    batch = np.random.RandomState(1).uniform(-1, 1, (3, 1, 16, 16)).astype(np.float32)
    together = extractor.extract(batch)
    np.testing.assert_allclose(together[1:2], extractor.extract(batch[1:2]), rtol=1e-4, atol=1e-5)
    assert extractor.weights_sha256 == sha256_file(weight_file)


def test_percentiles_equal_monais_and_are_blind_to_a_linear_change_of_intensity():
    v = np.random.RandomState(0).standard_normal((1, 12, 10, 8)).astype(np.float32).clip(-3, 3) / 3
    theirs = ScaleIntensityRangePercentiles(0.5, 99.5, -1, 1, clip=True)(v)
    np.testing.assert_allclose(by_percentiles(v), np.asarray(theirs), atol=1e-5)
    assert (by_percentiles(v).min(), by_percentiles(v).max()) == (-1, 1)
    np.testing.assert_allclose(by_percentiles(0.5 * v - 0.3), by_percentiles(v), atol=1e-5)


def test_one_outlier_does_not_set_the_scale():
    v = np.linspace(-0.5, 0.5, 4096, dtype=np.float32).reshape(1, 16, 16, 16)
    hot = v.copy()
    hot[0, 0, 0, 0] = 1
    np.testing.assert_allclose(by_percentiles(hot)[:, 1:], by_percentiles(v)[:, 1:], atol=2e-3)


@pytest.mark.parametrize("value", [-1, 0.25])
def test_a_constant_volume_becomes_empty(value):
    assert (by_percentiles(np.full((1, 4, 5, 6), value, np.float32)) == -1).all()


def test_an_object_below_the_percentile_is_empty_too():
    v = np.full((1, 16, 16, 16), -1, np.float32)
    v[0, :2, :2, :2] = 1  # 8 of 4096 voxels, .2 %
    assert (by_percentiles(v) == -1).all()


def test_the_volume_is_prepared_by_one_of_the_two_alone(trusted):
    assert SqueezeNetVLM3D().prepare_volume is not None
    assert not hasattr(SqueezeNet, "prepare_volume")
    assert SqueezeNetVLM3D.input != SqueezeNet.input


def test_other_weights_and_other_tensors_are_refused(weight_file, monkeypatch, tmp_path):
    monkeypatch.setenv("CEREBENCH_WEIGHTS_DIR", str(weight_file.parent))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(weights, "user_data_path", lambda _app: tmp_path)
    with pytest.raises(MissingWeights, match=r"wrong file.*bench weights import FILE"):
        SqueezeNet()
    path = tmp_path / "other.pth"
    torch.save({"classifier.1.bias": torch.zeros(1000)}, path)
    with pytest.raises(MissingWeights, match="holds 1 tensors that are not those of squeezenet"):
        load_network(path)


def test_several_channels_are_refused(trusted):
    with pytest.raises(MetricError, match="with 3 channels; one is expected"):
        SqueezeNet().extract(np.zeros((1, 3, 16, 16), np.float32))


def test_a_torchvision_of_another_torch_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision.models", None)
    with pytest.raises(MissingWeights, match="torchvision that matches torch"):
        build_network()
