"""The fake GPU refuses what a GPU refuses, lets pass what it lets pass, and leaves no trace."""

import copy
from contextlib import suppress

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from cerebench.benchmark.conformance import fake_device
from cerebench.benchmark.conformance import methods as conformance
from cerebench.benchmark.conformance.fake_device import DEVICE, FakeTensor, ReadsValues
from cerebench.benchmark.device import new_generator, pick_device
from cerebench.benchmark.engine.registry import Registries
from cerebench.methods.base import randn
from cerebench.methods.wgan_gp import WGANGP
from cerebench.metrics.estimators.exact import exact_float32

LONG = torch.int64


def host(*shape, dtype=torch.float32):
    """A tensor of the host, with values."""
    return torch.ones(*shape, dtype=dtype, device="cpu")


def ours(*shape, dtype=torch.float32):
    """A tensor of the fake device."""
    return torch.ones(*shape, dtype=dtype, device=DEVICE)


def cpu():
    return torch.Generator()


@pytest.fixture(params=[False, True], ids=["training", "inference"])
def device(request, monkeypatch):
    """A fake device on which whoever reads values counts as the suite; also without autograd."""
    monkeypatch.setattr(fake_device, "_caller", lambda: ("methods.some:Some.train", True))
    with (
        fake_device.fake_device() as device,
        exact_float32(),
        torch.inference_mode(request.param),
    ):
        yield device


REFUSED = {
    "sum": lambda: ours(3) + host(3),
    "sum, from the left": lambda: host(3) + ours(3),
    "number of the device on the host": lambda: host(3) + ours(()),
    "in place": lambda: host(3).add_(ours(3)),
    "choice": lambda: torch.where(ours(3) > 0, host(3), ours(3)),
    "concatenation": lambda: torch.cat((ours(3), host(3))),
    "product": lambda: ours(2, 3) @ host(3, 2),
    "batched product": lambda: torch.bmm(ours(1, 2, 3), host(1, 3, 2)),
    "weights": lambda: functional.linear(ours(2, 3), host(4, 3)),
    "bias": lambda: functional.linear(ours(2, 3), ours(4, 3), host(4)),
    "convolution": lambda: functional.conv3d(ours(1, 1, 4, 4, 4), host(1, 1, 3, 3, 3)),
    "attention": lambda: functional.scaled_dot_product_attention(
        ours(1, 2, 4, 8), host(1, 2, 4, 8), ours(1, 2, 4, 8)
    ),
    "embedding": lambda: functional.embedding(host(3, dtype=LONG), ours(4, 2)),
    "statistics": lambda: functional.batch_norm(ours(2, 3, 4), host(3), host(3), training=True),
    "norm": lambda: functional.group_norm(ours(2, 4, 4), 2, host(4), host(4)),
    "targets": lambda: functional.cross_entropy(ours(3, 4), host(3, dtype=LONG)),
    "distances": lambda: torch.cdist(ours(3, 4), host(3, 4)),
    "gather": lambda: ours(3).gather(0, host(3, dtype=LONG)),
    "added at indices": lambda: ours(3).index_add_(0, host(3, dtype=LONG), ours(3)),
    "host indexed by the device": lambda: host(3)[ours(2, dtype=LONG)],
    "host written at indices of the device": lambda: host(3).__setitem__(ours(2, dtype=LONG), 1.0),
    "comparison": lambda: torch.equal(ours(3), host(3)),
    "search": lambda: torch.searchsorted(ours(4), host(4)),
    "NumPy": lambda: ours(3).numpy(),
    "NumPy's way": lambda: np.asarray(ours(3)),
    "array indexed by the device": lambda: np.zeros(3)[ours(2, dtype=LONG)],
    "moved to the first GPU": lambda: host(3).cuda() + ours(3),
    "made on the first GPU": lambda: torch.ones(3, device="cuda") + ours(3),
    "network on the first GPU": lambda: nn.Linear(3, 3).cuda()(ours(2, 3)),
    "host's generator, randn": lambda: torch.randn(3, generator=cpu(), device=DEVICE),
    "host's generator, rand": lambda: torch.rand(3, generator=cpu(), device=DEVICE),
    "host's generator, randint": lambda: torch.randint(3, (2,), generator=cpu(), device=DEVICE),
    "host's generator, randperm": lambda: torch.randperm(3, generator=cpu(), device=DEVICE),
    "host's generator, normal_": lambda: ours(3).normal_(generator=cpu()),
    "host's generator, uniform_": lambda: ours(3).uniform_(generator=cpu()),
    "host's generator, bernoulli": lambda: torch.bernoulli(ours(3), generator=cpu()),
    "host's generator, multinomial": lambda: torch.multinomial(ours(3), 1, generator=cpu()),
    "device's generator on the host": lambda: torch.rand(
        3, generator=new_generator(DEVICE), device="cpu"
    ),
}


@pytest.mark.parametrize("mistake", REFUSED.values(), ids=REFUSED.keys())
def test_what_a_gpu_refuses_is_refused_and_says_why(device, mistake):
    with pytest.raises((RuntimeError, TypeError), match=r"(?i)device"):
        mistake()


ALLOWED = {
    "number of the host": lambda: ours(3) + host(()),
    "number of the host in a choice": lambda: torch.where(ours(3) > 0, ours(3), host(())),
    "indices of the host": lambda: ours(3)[host(2, dtype=LONG)],
    "indices of NumPy": lambda: ours(3)[np.array([0, 1])],
    "indices in a list": lambda: ours(3)[[0, 1]],
    "written at indices of the host": lambda: ours(3).__setitem__(host(2, dtype=LONG), 1.0),
    "copied to the device": lambda: ours(3).copy_(host(3)),
    "moved": lambda: host(3).to(DEVICE) + ours(3),
    "moved like another": lambda: host(3).to(ours(3)) + ours(3),
    "made like another": lambda: ours(3).new_tensor([1.0, 2.0, 3.0]) + ours(3),
    "made from numbers": lambda: torch.tensor([1.0, 2.0, 3.0], device=DEVICE) + ours(3),
    "filled like another": lambda: torch.zeros_like(ours(3)) + ours(3),
    "smoothed labels": lambda: functional.cross_entropy(
        ours(3, 4), ours(3, dtype=LONG), label_smoothing=0.1
    ),
    "resampled": lambda: functional.interpolate(
        ours(1, 1, 4, 4, 4), scale_factor=2, mode="trilinear"
    ),
    "device's generator": lambda: torch.rand(3, generator=new_generator(DEVICE), device=DEVICE),
    "host's generator, moved": lambda: torch.rand(3, generator=cpu(), device="cpu").to(DEVICE),
    "dropout": lambda: functional.dropout(ours(3)),
    "network": lambda: nn.Linear(3, 3).to(DEVICE).to(DEVICE)(ours(2, 3)),
    "network in double": lambda: nn.Linear(3, 3).to(DEVICE).double()(ours(2, 3).double()),
    "copy of a network": lambda: copy.deepcopy(nn.Linear(3, 3).to(DEVICE))(ours(2, 3)),
    "row by row": lambda: sum(row for row in ours(3)),
}


@pytest.mark.parametrize("use", ALLOWED.values(), ids=ALLOWED.keys())
def test_what_a_gpu_allows_stays_on_it(device, use):
    found = use()
    assert found is None or (found.device, found.is_cuda, found.is_meta) == (DEVICE, True, False)


READ = {
    "number": (lambda: ours(()).item(), 0.0),
    "truth": (lambda: bool(ours(()) > 0), False),
    "list": (lambda: ours(2).tolist(), [0.0, 0.0]),
    "moved to the host": (lambda: ours(2).cpu().numpy().tolist(), [0.0, 0.0]),
    "copied to the host": (lambda: host(2).copy_(ours(2)).tolist(), [0.0, 0.0]),
    "places": (lambda: tuple(ours(2, 3).nonzero().shape), (0, 2)),
    "choice": (lambda: len(ours(3)[ours(3) > 0]), 0),
    "different values": (lambda: len(ours(3).unique()), 1),
    "part of another": (lambda: torch.tensor([ours(()), ours(())]).tolist(), [0.0, 0.0]),
}


@pytest.mark.parametrize(("read", "answer"), READ.values(), ids=READ.keys())
def test_reads_of_the_suite_are_answered_by_zeros_and_noted(device, read, answer):
    assert read() == answer
    assert device.reads == {"methods.some:Some.train"}


@pytest.mark.parametrize("read", [read for read, _ in READ.values()], ids=READ.keys())
def test_reads_of_others_end_the_attempt_and_name_the_place(device, monkeypatch, read):
    monkeypatch.setattr(fake_device, "_caller", lambda: ("their.module:Their.train", False))
    with pytest.raises(ReadsValues, match=r"their\.module:Their\.train reads values"):
        read()
    assert not device.reads


PRODUCTS = {
    "product": lambda: ours(2, 3) @ ours(3, 2),
    "layer": lambda: functional.linear(ours(2, 3), ours(4, 3)),
    "convolution": lambda: functional.conv3d(ours(1, 1, 4, 4, 4), ours(1, 1, 3, 3, 3)),
    "attention": lambda: functional.scaled_dot_product_attention(
        ours(1, 2, 4, 8), ours(1, 2, 4, 8), ours(1, 2, 4, 8)
    ),
}


@pytest.mark.parametrize("product", PRODUCTS.values(), ids=PRODUCTS.keys())
def test_float32_products_are_refused_where_the_gpu_would_round_to_tf32(product):
    with fake_device.fake_device():
        with pytest.raises(RuntimeError, match=r"the device would compute .* in TF32"):
            product()
        with exact_float32():
            product()


def test_the_host_computes_as_ever_beside_the_device(device):
    assert (host(3) + 1).tolist() == [2.0, 2.0, 2.0]
    first, second = (torch.rand(3, generator=cpu().manual_seed(1), device="cpu") for _ in "ab")
    assert torch.equal(first, second)
    assert not isinstance(first, FakeTensor)


def test_parameters_stay_the_same_objects_when_a_network_is_moved():
    """As between real devices: optimisers and tied layers that were made before keep working."""
    with fake_device.fake_device(), exact_float32():
        net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
        net[1].weight = net[0].weight
        before = list(net.parameters())
        adam = torch.optim.Adam(before, fused=True)
        net.to(DEVICE)
        assert all(a is b for a, b in zip(before, net.parameters(), strict=True))
        assert net[1].weight is net[0].weight
        assert all(isinstance(p, nn.Parameter) and p.requires_grad for p in before)
        net(ours(2, 3)).sum().backward()
        adam.step()
        assert {p.grad.device for p in before} == {DEVICE}
        frozen = nn.Linear(3, 3).requires_grad_(False).to(DEVICE).double()
        assert not any(p.requires_grad for p in frozen.parameters())
        net = nn.Linear(3, 3)
        weight = net.weight
        net.double()
        assert net.weight is weight
        assert (weight.device.type, weight.dtype) == ("cpu", torch.float64)


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        (None, ("cuda:1", "cpu")),
        ("cpu", ("cpu", "cpu")),
        ("cuda:0", ("cuda:0", "cuda:0")),
        (torch.device("cuda:1"), ("cuda:1", "cuda:1")),
        ({"cuda:1": "cuda:0"}, ("cuda:0", "cpu")),
        (lambda storage, place: storage if place == "cpu" else None, ("cuda:1", "cpu")),
        (lambda storage, place: storage.to(device="cuda:0"), ("cuda:0", "cuda:0")),
    ],
)
def test_saved_tensors_are_handed_back_where_map_location_wants_them(
    device, tmp_path, location, expected
):
    torch.save({"a": ours(2), "b": [host(2)]}, tmp_path / "state.pt")
    found = torch.load(tmp_path / "state.pt", map_location=location, weights_only=True)
    assert (str(found["a"].device), str(found["b"][0].device)) == expected


def test_a_file_of_real_tensors_is_read_as_ever(tmp_path):
    torch.save({"a": torch.arange(3)}, tmp_path / "state.pt")
    with fake_device.fake_device():
        found = torch.load(tmp_path / "state.pt", map_location="cpu", weights_only=True)
        assert found["a"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("error", [None, KeyError])
def test_no_trace_is_left(error):
    patched = [
        (torch.Tensor, "_make_subclass"), (FakeTensor, "is_cuda"), (FakeTensor, "is_meta"),
        (nn.Module, "_apply"), (torch, "save"), (torch, "load"),
    ]  # fmt: skip
    before = [getattr(owner, name) for owner, name in patched]
    with suppress(KeyError), fake_device.fake_device():
        assert str(pick_device("auto")) == "cuda:0"
        if error:
            raise error
    assert [getattr(owner, name) for owner, name in patched] == before
    weight = torch.ones(3, requires_grad=True)
    (weight * 2).sum().backward()
    assert weight.grad.tolist() == [2.0, 2.0, 2.0]
    assert str(pick_device("cpu")) == "cpu"


class _HostBuffer(WGANGP):
    """Multiplies by a tensor that no network registers, so that it stays where it was made."""

    def build(self):
        self.scale = torch.ones(self.config.latent)
        return super().build()

    def sample(self, conditions, rngs):
        return self.nets["generator"](randn(rngs, self.config.latent) * self.scale)


class _HostGenerator(WGANGP):
    """Draws in sampling with the samples' generators, which are the CPU's, on torch's default."""

    def sample(self, conditions, rngs):
        noise = torch.stack([torch.randn(self.config.latent, generator=g) for g in rngs])
        return self.nets["generator"](noise)


class _OwnOrder(WGANGP):
    """Draws in training with a generator of its own."""

    def train(self, data, run):
        torch.randperm(len(data), generator=torch.Generator().manual_seed(0))
        super().train(data, run)


class _Unmoved(WGANGP):
    """Forgets that what a phase keeps lies on the host."""

    def train(self, data, run):
        phase = run.phase("kept")
        latent = phase.once("mean", lambda: torch.zeros(self.config.latent))
        for step in phase.steps(2):
            self.nets["generator"](step.randn(2, self.config.latent) + latent)
        super().train(data, run)


class _FirstGPU(WGANGP):
    """Moves to the first GPU, whichever was asked for."""

    def sample(self, conditions, rngs):
        return self.nets["generator"](randn(rngs, self.config.latent).cuda())


class _NamedGPU(WGANGP):
    """Makes noise on ``cuda``."""

    def train(self, data, run):
        self.nets["generator"](torch.zeros(2, self.config.latent, device="cuda"))
        super().train(data, run)


class _WhereThereIsOne(WGANGP):
    """Chooses a device by itself."""

    def train(self, data, run):
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.nets["generator"](torch.zeros(2, self.config.latent, device=device))
        super().train(data, run)


class _ArrayAtTensor(WGANGP):
    """Indexes an array of NumPy with a tensor of the device."""

    def sample(self, conditions, rngs):
        np.array(self.classes)[conditions.labels]
        return super().sample(conditions, rngs)


class _StraightToNumpy(WGANGP):
    """Gives NumPy a tensor of the device."""

    def train(self, data, run):
        data.take(torch.arange(2, device="cpu")).images.numpy()
        super().train(data, run)


class _DeviceIndices(WGANGP):
    """Takes cases by positions on torch's default device."""

    def train(self, data, run):
        data.take(torch.arange(2))
        super().train(data, run)


class _Fast(WGANGP):
    """Allows TF32 for all that follows."""

    def sample(self, conditions, rngs):
        torch.backends.cudnn.allow_tf32 = True
        return super().sample(conditions, rngs)


class _HostMap(WGANGP):
    """Explains with a tensor of the host."""

    def explain(self, volumes):
        return torch.full(volumes.shape, 0.5, device="cpu") * volumes.abs().clamp(0, 1)


class _Unfinished(WGANGP):
    """Fails by itself."""

    def train(self, data, run):
        raise NotImplementedError("the critic is still to be written")


class _Steered(WGANGP):
    """Decides by a value while it trains."""

    def train(self, data, run):
        images = data.take(torch.arange(2, device="cpu")).images
        if float(images.mean()) < 0:
            super().train(data, run)


class _Counting(WGANGP):
    """Reads values in sampling."""

    def sample(self, conditions, rngs):
        assert len(set(conditions.labels.tolist())) == 1
        return super().sample(conditions, rngs)


class _ByMask(WGANGP):
    """Chooses by a condition, so that the number of rows depends on values."""

    def explain(self, volumes):
        volumes[volumes > 0].mean()
        return volumes.abs()[:, :1].clamp(0, 1)


class _Grouping(WGANGP):
    """Needs two different values in what a phase keeps; the suite's own reads are answered by 0."""

    def train(self, data, run):
        kept = run.phase("kept").once("pair", lambda: torch.arange(2))
        low, high = kept.unique()
        assert low < high
        super().train(data, run)


def judged(cls):
    registries = Registries()
    registries.methods._files["faulty"] = (None, cls)
    subject = conformance.Subject("faulty", registries)
    return conformance.judge(conformance.trains_and_samples_on_a_gpu, subject)


@pytest.mark.parametrize(
    ("cls", "outcome", "reason"),
    [
        (_HostBuffer, "failed", "found at least two devices, cpu and cuda:1"),
        (_HostGenerator, "failed", "Expected a 'cuda' device type for generator but found 'cpu'"),
        (_OwnOrder, "failed", "Expected a 'cuda' device type for generator but found 'cpu'"),
        (_Unmoved, "failed", "found at least two devices, cpu and cuda:1"),
        (_FirstGPU, "failed", "found at least two devices, cuda:0 and cuda:1"),
        (_NamedGPU, "failed", "found at least two devices, cuda:0 and cuda:1"),
        (_WhereThereIsOne, "failed", "found at least two devices, cpu and cuda:1"),
        (_ArrayAtTensor, "failed", "can't convert cuda:1 device type tensor to numpy"),
        (_StraightToNumpy, "failed", "can't convert cuda:1 device type tensor to numpy"),
        (_DeviceIndices, "failed", "indices should be either on cpu or on the same device"),
        (_Fast, "failed", "the device would compute addmm in TF32"),
        (_HostMap, "failed", "found at least two devices, cpu and cuda:1"),
        (_Unfinished, "failed", "NotImplementedError: the critic is still to be written"),
        (_Steered, "not shown", "_Steered.train reads values of a tensor"),
        (_Counting, "not shown", "_Counting.sample reads values of a tensor"),
        (_ByMask, "not shown", "_ByMask.explain reads values of a tensor"),
        (_Grouping, "not shown", "without values it came to ValueError"),
        (WGANGP, "ok", ""),
    ],
)
def test_mistakes_of_methods_are_found_and_reads_are_not_called_mistakes(cls, outcome, reason):
    found = judged(cls)
    assert (found.outcome, reason in found.reason) == (outcome, True), found
    if outcome == "failed":
        assert "test_fake_device.py:" in found.reason or "TF32" in reason  # where it happened
