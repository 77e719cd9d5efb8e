"""MedicalNet: counts, topology against MONAI with strides set, loading, preparation of input."""

import numpy as np
import pytest
import torch
from monai.networks import nets

from cerebench.core import weights
from cerebench.core.hashing import sha256_file
from cerebench.metrics.base import MetricError, MissingWeights
from cerebench.metrics.extractors import medicalnet
from cerebench.metrics.extractors.medicalnet import (
    MedicalNet10,
    ResNet,
    layout_of,
    load_network,
    standardised,
)

COUNTS = {10: 14_355_520, 18: 32_986_176, 34: 63_295_808, 50: 46_155_072}


@pytest.mark.parametrize("depth", COUNTS)
def test_parameter_counts_and_layout_are_those_of_the_published_networks(depth):
    with torch.device("meta"):
        network = ResNet(depth)
    assert sum(p.numel() for p in network.parameters()) == COUNTS[depth]
    layout = weights.layout_hash((n, tuple(t.shape)) for n, t in network.state_dict().items())
    assert weights.KNOWN[f"medicalnet-resnet{depth}"].layout_sha256 == layout


def spread(network, seed=0):
    """Give batch norms statistics that matter."""
    torch.manual_seed(seed)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.data.uniform_(0.5, 1.5)
    return network.eval()


def test_features_equal_monais_network_with_the_original_strides_and_dilations():
    ours = spread(ResNet(10))
    theirs = nets.resnet10(
        spatial_dims=3, n_input_channels=1, feed_forward=False, shortcut_type="B",
        bias_downsample=False, conv1_t_stride=2,
    )  # fmt: skip
    theirs.load_state_dict(ours.state_dict())
    for stage, dilation in ((theirs.layer3, 2), (theirs.layer4, 4)):
        for module in stage.modules():
            if isinstance(module, torch.nn.Conv3d):
                module.stride = (1, 1, 1)
                if module.kernel_size == (3, 3, 3):
                    module.dilation = module.padding = (dilation,) * 3
    x = torch.randn(1, 1, 20, 24, 28, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs.eval()(x), rtol=1e-4, atol=1e-5)


def test_padded_shortcuts_take_every_other_voxel():
    block = medicalnet.Block(64, 128, 2, 1, deep=False, padded=True)
    for module in (block.conv1, block.conv2):
        torch.nn.init.zeros_(module.weight)
    x = torch.rand(1, 64, 6, 6, 6)
    out = block.eval()(x)
    torch.testing.assert_close(out[:, :64], x[..., ::2, ::2, ::2])
    assert not out[:, 64:].any()


def test_the_network_halves_three_times():
    sizes = []
    network = ResNet(10).eval()
    network.layer4.register_forward_hook(lambda _m, _i, out: sizes.append(tuple(out.shape)))
    with torch.no_grad():
        network(torch.zeros(1, 1, 32, 40, 48))
    assert sizes == [(1, 512, 4, 5, 6)]


@pytest.fixture
def weight_file(tmp_path, monkeypatch):
    """Random tensors with the published names, under ``state_dict`` and the prefix ``module.``."""
    state = {f"module.{n}": t for n, t in spread(ResNet(10)).state_dict().items()}
    path = tmp_path / "resnet_10_23dataset.pth"
    torch.save({"state_dict": state}, path)
    monkeypatch.setenv("CEREBENCH_WEIGHTS_DIR", str(tmp_path))
    return path


def test_every_tensor_of_the_file_reaches_the_network(weight_file):
    stored = torch.load(weight_file, weights_only=True)["state_dict"]
    loaded = load_network(weight_file, 10).state_dict()
    assert all(torch.equal(loaded[n.removeprefix("module.")], t) for n, t in stored.items())


def test_features_do_not_depend_on_the_batch_or_on_a_linear_change_of_intensity(weight_file):
    extractor = MedicalNet10()
    batch = np.full((3, 1, 16, 16, 16), -1, np.float32)
    batch[:2, :, 3:12, 4:13, 2:9] = np.random.RandomState(0).uniform(-0.5, 0.5, (2, 1, 9, 9, 7))
    together = extractor.extract(batch)
    assert together.shape == (3, 512)
    np.testing.assert_allclose(together[1:2], extractor.extract(batch[1:2]), atol=1e-5)
    assert np.ptp(together[:2], axis=0).max() > 1e-3
    assert not together[2].any()  # no object
    brighter = np.where(batch > -1, 0.5 * batch + 0.2, -1).astype(np.float32)
    np.testing.assert_allclose(extractor.extract(brighter)[:2], together[:2], atol=1e-3)
    assert extractor.weights_sha256 == sha256_file(weight_file)


def test_background_is_the_minimum_and_the_foreground_standardised():
    v = np.full((1, 8, 8, 8), -1, np.float32)
    v[0, 2:6, 2:6, 2:6] = np.random.RandomState(0).uniform(-0.5, 0.9, (4, 4, 4))
    out = standardised(v)
    inside = v > -1
    assert out[inside].mean() == pytest.approx(0, abs=1e-6)
    assert out[inside].std() == pytest.approx(1, abs=1e-6)
    assert (out[~inside] == out[inside].min()).all()


def test_another_network_and_several_channels_are_refused(weight_file):
    with pytest.raises(MissingWeights, match="not those of MedicalNet's ResNet-18"):
        load_network(weight_file, 18)
    with pytest.raises(MetricError, match="with 2 channels"):
        MedicalNet10().extract(np.zeros((1, 2, 8, 8, 8), np.float32))


def test_a_file_is_imported_by_its_layout_where_no_hash_is_published(weight_file, tmp_path):
    renamed = tmp_path / "something.bin"
    renamed.write_bytes(weight_file.read_bytes())
    assert weights.import_file(renamed, layout_of) == "medicalnet-resnet10"


@pytest.mark.parametrize("content", [b"no tensors", b"", None])
def test_the_name_of_a_weight_file_is_no_proof(weight_file, tmp_path, content):
    named = tmp_path / weight_file.name
    if content is None:
        torch.save({"conv1.weight": torch.zeros(3)}, named)
    else:
        named.write_bytes(content)
    with pytest.raises(MissingWeights, match=r"none of the known .*by the layout of its tensors"):
        weights.import_file(named, layout_of)
