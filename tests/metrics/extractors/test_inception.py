"""Inception: topology by counts and layout hash, loading, preprocessing, other weights."""

import dataclasses
import socket
import sys

import numpy as np
import pytest
import torch
from torch.nn import functional

from cerebench.core import weights
from cerebench.core.hashing import sha256_file
from cerebench.metrics.base import MetricError, MissingWeights
from cerebench.metrics.extractors import inception
from cerebench.metrics.extractors.inception import (
    WEIGHTS,
    Inception,
    build_network,
    load_network,
    preprocess,
)

PARAMETERS = {
    "Conv2d_1a_3x3": 928,
    "Conv2d_2a_3x3": 9_280,
    "Conv2d_2b_3x3": 18_560,
    "Conv2d_3b_1x1": 5_280,
    "Conv2d_4a_3x3": 138_624,
    "Mixed_5b": 255_904,
    "Mixed_5c": 277_472,
    "Mixed_5d": 285_152,
    "Mixed_6a": 1_153_280,
    "Mixed_6b": 1_297_408,
    "Mixed_6c": 1_691_008,
    "Mixed_6d": 1_691_008,
    "Mixed_6e": 2_141_952,
    "Mixed_7a": 1_698_304,
    "Mixed_7b": 5_044_608,
    "Mixed_7c": 6_076_800,
    "fc": 2_065_392,
}
SMALL = (107, 139)  # of an image, where the test is about weights: maps of 2 x 3 at the end


@pytest.fixture(scope="module")
def skeleton():
    """The network without memory for its weights."""
    with torch.device("meta"):
        return build_network()


@pytest.fixture(scope="module")
def weight_file(tmp_path_factory):
    """Random weights with the right names and shapes, no batch counters."""
    torch.manual_seed(0)
    state = build_network().state_dict()
    for name, tensor in state.items():
        if name.endswith("running_mean"):
            tensor.normal_(0, 0.1)
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
    path = tmp_path_factory.mktemp("weights") / weights.KNOWN[WEIGHTS].file
    torch.save({n: t for n, t in state.items() if not n.endswith("num_batches_tracked")}, path)
    return path


@pytest.fixture
def trusted(weight_file, monkeypatch):
    """The random file passes for the canonical one, and the network is cut."""
    known = dataclasses.replace(weights.KNOWN[WEIGHTS], sha256_prefix=sha256_file(weight_file)[:8])
    monkeypatch.setattr(weights, "KNOWN", {WEIGHTS: known})
    monkeypatch.setenv("CEREBENCH_WEIGHTS_DIR", str(weight_file.parent))

    def refuse(*_args, **_kwargs):
        raise AssertionError("network access")

    monkeypatch.setattr(socket, "socket", refuse)
    return Inception()


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_parameter_counts_are_those_of_the_topology(skeleton):
    children = {name: count(child) for name, child in skeleton.named_children()}
    assert {name: n for name, n in children.items() if n} == PARAMETERS
    assert count(skeleton) == 23_850_960
    assert sum(type(m).__name__ == "BasicConv2d" for m in skeleton.modules()) == 94
    floats = [t for t in skeleton.state_dict().values() if t.is_floating_point()]
    assert len(floats) == 472


def test_layout_hash_is_that_of_the_published_file(skeleton):
    shapes = ((name, tuple(t.shape)) for name, t in skeleton.state_dict().items())
    expected = "954403df03f5a6d824cbccdc11f2b359003e906b126822a8a9a1afc4b6c8b849"
    assert weights.layout_hash(shapes) == expected == weights.KNOWN[WEIGHTS].layout_sha256


def test_spatial_sizes_are_those_of_the_topology(skeleton):
    sizes = {}
    for name in PARAMETERS:
        skeleton.get_submodule(name).register_forward_hook(
            lambda _m, _i, out, name=name: sizes.update({name: tuple(out.shape[1:3])})
        )
    out = skeleton.eval()(torch.empty(1, 3, 299, 299, device="meta"))
    assert out.shape == (1, 1008)
    expected = [(32, 149), (32, 147), (64, 147), (80, 73), (192, 71), (256, 35), (288, 35)]
    expected += [(288, 35), *[(768, 17)] * 5, (1280, 8), (2048, 8), (2048, 8)]
    assert list(sizes.values()) == [*expected, (1008,)]


def test_every_tensor_of_the_file_reaches_the_network(weight_file):
    state = torch.load(weight_file, weights_only=True)
    network = load_network(weight_file)
    loaded = network.state_dict()
    assert len(state) == 472
    used = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
    assert len(used) == 470
    assert all(torch.equal(loaded[name], tensor) for name, tensor in used.items())
    assert not network.training


def test_features_are_the_mean_over_the_last_map(weight_file):
    network, last = load_network(weight_file), []
    network.Mixed_7c.register_forward_hook(lambda _m, _i, out: last.append(out))
    x = torch.rand(1, 3, *SMALL, generator=torch.Generator().manual_seed(1)) * 2 - 1
    out = network(x)
    assert out.shape == (1, 2048)
    assert out.std() > 0
    torch.testing.assert_close(out, last[0].mean((2, 3)))


def test_the_last_block_pools_by_maximum_and_the_others_leave_the_padding_out(
    skeleton, monkeypatch
):
    calls = []

    def watch(name):
        original = getattr(functional, name)

        def watched(*inputs, **options):
            calls.append((name, options.get("count_include_pad")))
            return original(*inputs, **options)

        monkeypatch.setattr(functional, name, watched)

    watch("avg_pool2d")
    watch("max_pool2d")
    for block, width in (("Mixed_5b", 192), ("Mixed_7b", 1280), ("Mixed_7c", 2048)):
        skeleton.get_submodule(block)(torch.empty(1, width, 8, 8, device="meta"))
    assert calls[:2] == [("avg_pool2d", False)] * 2
    assert [name for name, _ in calls[2:]] == ["max_pool2d"]


def test_a_torchvision_of_another_torch_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_fid", None)
    with pytest.raises(MissingWeights, match="torchvision that matches torch"):
        build_network()


def test_preprocessing_quantises_resizes_and_replicates():
    v = torch.linspace(-1.2, 1.2, 25).reshape(1, 1, 5, 5)
    levels = np.clip(np.rint((v.numpy() + 1) * 127.5), 0, 255) / 127.5 - 1
    out = preprocess(v)
    assert out.shape == (1, 3, 299, 299)
    assert torch.equal(out[:, 0], out[:, 2])
    # Output pixel i samples input coordinate (i + 0.5) * 5 / 299 - 0.5; the middle is exact.
    assert out[0, 0, 149, 149] == pytest.approx(levels[0, 0, 2, 2], abs=1e-6)
    at = (100 + 0.5) * 5 / 299 - 0.5
    expected = np.interp(at, np.arange(5), levels[0, 0, 2])
    assert out[0, 0, 149, 100] == pytest.approx(expected, abs=1e-5)
    assert (out.min(), out.max()) == (-1, 1)


def test_features_do_not_depend_on_the_batch(trusted):
    batch = np.random.RandomState(0).uniform(-1, 1, (3, 1, 16, 16)).astype(np.float32)
    together = trusted.extract(batch)
    assert together.shape == (3, 2048)
    assert together.dtype == np.float32
    assert together.std(axis=0).max() > 0
    np.testing.assert_allclose(together[1:2], trusted.extract(batch[1:2]), atol=1e-5, rtol=1e-4)


def test_identity_of_the_weights_is_their_full_hash(trusted, weight_file):
    assert trusted.weights_sha256 == sha256_file(weight_file)
    assert len(trusted.weights_sha256) == 64


def test_several_channels_are_refused(trusted):
    with pytest.raises(MetricError, match="with 2 channels; one is expected"):
        trusted.extract(np.zeros((1, 2, 16, 16), np.float32))


def test_other_weights_do_not_get_the_name(weight_file, monkeypatch, tmp_path):
    monkeypatch.setenv("CEREBENCH_WEIGHTS_DIR", str(weight_file.parent))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(weights, "user_data_path", lambda _app: tmp_path)
    with pytest.raises(MissingWeights, match=r"wrong file.*bench weights import FILE"):
        Inception()


def test_a_file_with_other_tensors_is_refused(tmp_path):
    path = tmp_path / "other.pth"
    torch.save({"fc.weight": torch.zeros(1008, 2048)}, path)
    with pytest.raises(MissingWeights, match="holds 1 tensors that are not those of inception"):
        load_network(path)


def test_earlier_features_are_the_means_of_their_layer(weight_file):
    network, seen = load_network(weight_file), {}
    for dim, layer in ((64, "maxpool1"), (192, "maxpool2"), (768, "Mixed_6e")):
        network.get_submodule(layer).register_forward_hook(
            lambda _m, _i, out, dim=dim: seen.update({dim: out.mean((2, 3))})
        )
    x = torch.rand(1, 3, *SMALL, generator=torch.Generator().manual_seed(1)) * 2 - 1
    network(x)
    assert list(seen) == [64, 192, 768]
    for dim, expected in list(seen.items()):
        torch.testing.assert_close(inception.tapped(network, dim)(x), expected)
        assert getattr(inception, f"Inception{dim}").dim == dim


def test_rgb_slices_are_stretched_truncated_and_need_one_or_three_channels(trusted):
    extractor = inception.InceptionRGB()
    slices = torch.linspace(-0.4, 0.2, 3 * 224 * 224).reshape(1, 3, 224, 224)
    out = extractor.prepare(slices)
    assert out.shape == (1, 3, 299, 299)
    for channel in range(3):  # each channel by its own minimum and maximum
        assert (out[0, channel].min(), out[0, channel].max()) == (-1, 1)
    low, high = slices[0, 0].min(), slices[0, 0].max()
    level = np.floor(float((slices[0, 0, 112, 112] - low) / (high - low)) * 255) / 255
    assert float(out[0, 0, 149, 149]) == pytest.approx(2 * level - 1, abs=0.02)
    assert torch.equal(*extractor.prepare(slices[:, :1]).expand(-1, 3, -1, -1)[0, :2])
    with pytest.raises(MetricError, match="one or three are expected"):
        extractor.extract(np.zeros((1, 2, 16, 16), np.float32))


def test_a_wrong_hash_loses_the_name(weight_file, monkeypatch, tmp_path):
    from cerebench.metrics.features.slice_frechet import FD_UNVERIFIED

    monkeypatch.setenv("CEREBENCH_WEIGHTS_DIR", str(weight_file.parent))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(weights, "user_data_path", lambda _app: tmp_path)
    with pytest.raises(MissingWeights):
        Inception()
    other = inception.InceptionUnverified()
    assert (other.name, other.weights_sha256) == (
        "inception-unverified",
        sha256_file(weight_file),
    )
    assert (FD_UNVERIFIED.name, FD_UNVERIFIED.label) == (
        "fd-inception-unverified",
        "FD[inception-unverified]",
    )
