"""LPIPS: VGG16's own topology, the published distance, and slices that are drawn as promised."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch import nn

from cerebench.benchmark.planning.counting import Counter
from cerebench.benchmark.stages.training import train
from cerebench.core import weights
from cerebench.core.hashing import sha256_file
from cerebench.methods.layers.perceptual import (
    BLOCKS,
    LPIPS,
    VGG16,
    VGG16Features,
    _heads,
    slice_depths,
    slice_loss,
)
from cerebench.methods.wgan_gp import WGANGP
from cerebench.metrics.base import MissingWeights

WIDTHS = [width for width, _ in BLOCKS]


@pytest.fixture(scope="module")
def backbone():
    """VGG16 with random weights that keep the size of the signal through all layers."""
    network = VGG16Features()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for layer in network.features:
            if isinstance(layer, nn.Conv2d):
                fan_in = 9 * layer.in_channels
                layer.weight.normal_(0, (2 / fan_in) ** 0.5, generator=generator)
                layer.bias.normal_(0, 0.1, generator=generator)
    return network


@pytest.fixture(scope="module")
def lpips(backbone):
    return LPIPS(backbone)


class Channels(nn.Module):
    """Backbone that switches on channel 0 where the first colour is bright, else channel 1."""

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))

    def forward(self, x):
        bright = (x[:, :1] > 0).float()
        maps = [torch.zeros(len(x), width, *x.shape[2:]) for width in WIDTHS]
        for m in maps:
            m[:, :1], m[:, 1:2] = self.gain * bright, self.gain * (1 - bright)
        return maps


class Brightness(nn.Module):
    """Stands for the distance: difference of the mean brightness, one image at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = []

    def forward(self, x, y):
        self.calls.append((x, y))
        return (x.mean((1, 2, 3)) - y.mean((1, 2, 3))).abs()


def images(seed: int, *shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_the_backbone_is_the_convolutional_part_of_torchvisions_vgg16():
    from torchvision.models import vgg16

    with torch.device("meta"):
        ours, theirs = VGG16Features(), vgg16()
    theirs = {k: v.shape for k, v in theirs.state_dict().items() if k.startswith("features.")}
    assert {k: v.shape for k, v in ours.state_dict().items()} == theirs
    assert sum(p.numel() for p in ours.parameters()) == 14_714_688


def test_taps_are_torchvisions_activations_before_each_pooling(backbone):
    from torchvision.models import vgg16

    with torch.device("meta"):
        layers = vgg16().features
    layers = layers.to_empty(device="cpu")
    layers.load_state_dict(backbone.features.state_dict())
    x, expected = images(1, 2, 3, 32, 48), []
    with torch.no_grad():
        y = x
        for layer in layers:
            if isinstance(layer, nn.MaxPool2d):
                expected.append(y.clone())
            y = layer(y)
        found = backbone(x)
    assert [tuple(t.shape) for t in found] == [
        (2, 64, 32, 48), (2, 128, 16, 24), (2, 256, 8, 12), (2, 512, 4, 6), (2, 512, 2, 3),
    ]  # fmt: skip
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_heads_are_the_1472_published_non_negative_weights(lpips):
    heads = _heads()
    assert [tuple(h.shape) for h in heads] == [(width, 1, 1) for width in WIDTHS]
    assert sum(h.numel() for h in heads) == 1472
    assert all((h >= 0).all() for h in heads)
    sums = [h.double().sum().item() for h in heads]
    assert sums == pytest.approx([6.925992, 8.858334, 17.515005, 51.521324, 47.034850], rel=1e-6)
    assert sum(p.numel() for p in lpips.parameters()) == 14_714_688 + 1472


@pytest.mark.parametrize("channels", [1, 3])
def test_distances_are_those_of_torchmetrics(backbone, lpips, channels):
    from torchmetrics.functional.image.lpips import _LPIPS

    reference = _LPIPS(pretrained=True, net="vgg", pnet_rand=True)
    state = {}
    for key, value in backbone.features.state_dict().items():
        block = sum(int(key.split(".")[0]) >= first for first in (0, 4, 9, 16, 23))
        state[f"slice{block}.{key}"] = value
    reference.net.load_state_dict(state)
    x, y = images(2, 3, channels, 48, 32), images(3, 3, channels, 48, 32)
    with torch.no_grad():
        expected = reference(x.expand(-1, 3, -1, -1), y.expand(-1, 3, -1, -1)).flatten()
        found = lpips(x, y)
    assert found.shape == (3,)
    # torchmetrics adds 1e-8 to the squared norm, the original 1e-10 to the norm.
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)
    assert len(set(expected.tolist())) == 3


@pytest.mark.parametrize("gain", [1.0, 1000.0])
def test_orthogonal_features_differ_by_their_two_weights_where_images_differ(gain):
    heads = _heads()
    dark, half = -torch.ones(1, 1, 4, 4), -torch.ones(1, 1, 4, 4)
    half[..., :3, :] = 1.0  # three quarters of the positions
    expected = 0.75 * sum((h[0] + h[1]).item() for h in heads)
    assert LPIPS(Channels(gain))(dark, half).item() == pytest.approx(expected, rel=1e-5)


def test_colours_are_shifted_and_scaled_before_the_backbone():
    class Spy(Channels):
        def forward(self, x):
            self.seen = x
            return super().forward(x)

    network = LPIPS(Spy())
    network(images(4, 2, 1, 4, 4), torch.full((2, 1, 4, 4), 0.25))
    expected = [(0.25 + 0.030) / 0.458, (0.25 + 0.088) / 0.448, (0.25 + 0.188) / 0.450]
    assert network.backbone.seen.shape == (2, 3, 4, 4)
    assert network.backbone.seen[0, :, 0, 0].tolist() == pytest.approx(expected)


def test_equal_images_have_distance_zero_and_the_order_does_not_matter(lpips):
    x, y = images(5, 2, 1, 32, 32), images(6, 2, 1, 32, 32)
    with torch.no_grad():
        assert lpips(x, x).tolist() == [0.0, 0.0]
        torch.testing.assert_close(lpips(x, y), lpips(y, x))
        assert (lpips(x, y) > 0).all()
        assert (lpips(x, 0.9 * x + 0.1 * y) < lpips(x, y)).all()


def test_images_of_a_batch_do_not_influence_each_other(lpips):
    x, y = images(7, 3, 1, 32, 32), images(8, 3, 1, 32, 32)
    with torch.no_grad():
        alone = torch.cat([lpips(x[i : i + 1], y[i : i + 1]) for i in range(3)])
        torch.testing.assert_close(lpips(x, y), alone)


def test_it_is_frozen_and_passes_gradients_to_the_images(lpips):
    assert not any(p.requires_grad for p in lpips.parameters())
    assert not any(m.training for m in lpips.modules())
    y = images(9, 1, 1, 32, 32).requires_grad_()
    lpips(images(10, 1, 1, 32, 32), y).sum().backward()
    assert y.grad.abs().max() > 0
    assert all(p.grad is None for p in lpips.parameters())


def test_positions_without_any_feature_add_nothing(backbone):
    silent = VGG16Features()
    silent.load_state_dict(backbone.state_dict())
    nn.init.constant_(silent.features[0].bias, -100.0)  # nothing passes the first activation
    nn.init.zeros_(silent.features[2].bias)
    y = images(11, 1, 1, 16, 16).requires_grad_()
    distance = LPIPS(silent)(torch.zeros(1, 1, 16, 16), y)
    distance.sum().backward()
    assert distance.item() == 0.0
    assert y.grad.abs().max() == 0.0


def test_distances_are_float32_in_a_bf16_phase(lpips):
    x, y = images(12, 2, 1, 32, 32), images(13, 2, 1, 32, 32)
    with torch.no_grad():
        exact = lpips(x, y)
        with torch.autocast("cpu", torch.bfloat16):
            found = lpips(x, y)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact, rtol=0.03, atol=0)


@pytest.mark.parametrize(("size", "margin"), [(128, 30), (64, 15), (32, 7), (16, 3)])
def test_depths_keep_the_margin_and_reach_both_ends(size, margin):
    uniforms = torch.rand(200, 10, generator=torch.Generator().manual_seed(size))
    uniforms[0, 0], uniforms[0, 1] = 0.0, 1 - 2**-24  # the least and the greatest there is
    depths = slice_depths(uniforms, size)
    assert depths.dtype == torch.int64
    assert depths.shape == (200, 10)
    assert (depths[0, 0], depths.min()) == (margin, margin)
    assert (depths[0, 1], depths.max()) == (size - margin - 1, size - margin - 1)
    counts = np.bincount(depths.flatten() - margin, minlength=size - 2 * margin)
    assert chisquare(counts).pvalue > 1e-3


def test_another_margin_may_be_asked_for():
    uniforms = torch.tensor([[0.0, 0.5, 1 - 2**-24]])
    assert slice_depths(uniforms, 32, 0).tolist() == [[0, 16, 31]]
    assert slice_depths(uniforms, 128, 20).tolist() == [[20, 64, 107]]


def test_the_loss_looks_at_the_axial_slices_drawn_for_each_volume():
    real = torch.zeros(2, 1, 4, 5, 6)
    generated = torch.zeros(2, 1, 4, 5, 6)
    generated[0, 0, 1], generated[1, 0, 3] = 0.25, -0.5
    distance = Brightness()
    seen = slice_loss(distance, real, generated, torch.tensor([[1, 3], [1, 0], [2, 2]]))
    # Means over the batch of the three draws: (0.25 + 0.5) / 2, (0.25 + 0) / 2 and 0; summed.
    assert seen.item() == pytest.approx(0.5)
    assert [tuple(t.shape) for t in distance.calls[0]] == [(6, 1, 5, 6)] * 2
    assert len(distance.calls) == 1


def test_channels_are_compared_on_their_own_and_averaged():
    real = torch.zeros(1, 2, 4, 5, 6)
    generated = torch.zeros(1, 2, 4, 5, 6)
    generated[0, 0, 2], generated[0, 1, 2] = 0.5, -0.5  # their mean would be no difference
    depths = torch.tensor([[2], [2], [0]])
    distance = Brightness()
    assert slice_loss(distance, real, generated, depths).item() == pytest.approx(1.0)
    assert distance.calls[0][0].shape == (6, 1, 5, 6)


def test_the_loss_equals_a_loop_over_draws_and_volumes(lpips):
    real, generated = images(14, 2, 1, 16, 16, 16), images(15, 2, 1, 16, 16, 16)
    depths = torch.tensor([[3, 12], [8, 8], [5, 4]])
    with torch.no_grad():
        expected = sum(
            torch.stack([lpips(real[b : b + 1, :, d], generated[b : b + 1, :, d]) for b, d in row])
            .mean()
            .item()
            for row in (list(enumerate(draw.tolist())) for draw in depths)
        )
        assert slice_loss(lpips, real, generated, depths).item() == pytest.approx(
            expected, rel=1e-5
        )


def test_only_the_slices_drawn_of_the_generated_volume_get_gradients(lpips):
    real = images(16, 1, 1, 16, 16, 16).requires_grad_()
    generated = images(17, 1, 1, 16, 16, 16).requires_grad_()
    slice_loss(lpips, real, generated, torch.tensor([[4], [9]])).backward()
    reached = generated.grad.abs().sum((0, 1, 3, 4)).nonzero().flatten().tolist()
    assert reached == [4, 9]
    assert real.grad is None


class Borrower(WGANGP):
    """Trains nothing; asks for the backbone."""

    def train(self, data, run):
        self.borrowed = run.pretrained(VGG16, VGG16Features())


def test_the_harness_fills_the_backbone_from_a_verified_file(backbone, tmp_path, monkeypatch):
    from torchvision.models import vgg16

    known = weights.KNOWN[VGG16]
    with torch.device("meta"):
        state = {k: v.shape for k, v in vgg16().state_dict().items()}
    # The classifier, 90 % of the file and never used, is one number seen from everywhere.
    state = {k: torch.zeros(1).expand(shape) for k, shape in state.items()}
    state |= backbone.state_dict()
    assert weights.layout_hash((k, tuple(v.shape)) for k, v in state.items()) == known.layout_sha256
    path = tmp_path / known.file
    torch.save(state, path)
    for name in ("CEREBENCH_WEIGHTS_DIR", "XDG_DATA_HOME", "TORCH_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    method = Borrower(WGANGP.presets["smoke"].config, size=16, classes=("LGG", "HGG"))

    with pytest.raises(MissingWeights, match="wrong file"):
        train(method, None, tmp_path / "refused", seed=0, scope="LGG")

    right = dataclasses.replace(known, sha256_prefix=sha256_file(path)[:8])
    monkeypatch.setattr(weights, "KNOWN", {VGG16: right})
    train(method, None, tmp_path / "trained", seed=0, scope="LGG")
    for key, value in backbone.state_dict().items():
        assert torch.equal(method.borrowed.state_dict()[key], value)
    assert not any(p.requires_grad for p in method.borrowed.parameters())
    assert not method.borrowed.training


def test_the_operations_of_a_training_step_can_be_counted_without_data():
    with torch.device("meta"):
        network = LPIPS(VGG16Features())
        real = torch.zeros(1, 1, 128, 128, 128)
        generated = torch.zeros(1, 1, 128, 128, 128, requires_grad=True)
        depths = slice_depths(torch.zeros(6, 1), 128)
    with Counter() as counter:
        slice_loss(network, real, generated, depths).backward()
    # Forward of both sides and the input gradient of one: three forwards of 10.0 GFLOP a slice.
    assert counter.flops == pytest.approx(180e9, rel=0.02)
