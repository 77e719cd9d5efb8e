"""A round of alpha-WGAN beside a plain implementation of the same round, in the same run.

Plain: float32, contiguous, upsampling and convolution as two operations, all networks' gradients
in every backward pass. Prints the ratio; times decide nothing. Run with ``pytest tests/perf -s``.
"""

import dataclasses
import time

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import Adam

from cerebench.benchmark.training import TrainingData, seeded, train
from cerebench.methods.alpha_wgan import QUICK, AlphaWGAN
from cerebench.methods.upsampling import UpsampleConv

SIZE, ROUNDS = 32, 4
CONFIG = dataclasses.replace(
    QUICK.config, steps=ROUNDS, statistics=0, watch_every=10**9, watch_pairs=1
)


def _method(config=CONFIG):
    with seeded(0, "init"):
        return AlphaWGAN(config, size=SIZE, classes=("LGG", "HGG"))


def _volumes():
    return np.random.default_rng(0).uniform(-1, 1, (16, 1, SIZE, SIZE, SIZE)).astype(np.float32)


def _harness(folder):
    """Return the seconds of a round, the fastest of a few, as the harness runs it."""
    ends = []
    data = TrainingData(_volumes(), None, [0] * 16, [str(i) for i in range(16)], "cpu")
    # The last step measures the similarity of samples and is left out.
    train(
        _method(), data, folder, seed=0, scope="LGG",
        progress=lambda *_: ends.append(time.perf_counter()),
    )  # fmt: skip
    return min(np.diff(ends)[:-1])


def _unfused(net):
    layers = []
    for layer in net:
        if isinstance(layer, UpsampleConv):
            conv = nn.Conv3d(layer.in_channels, layer.out_channels, 3, padding=1, bias=False)
            conv.load_state_dict(layer.state_dict())
            layers += [nn.Upsample(scale_factor=2), conv]
        else:
            layers.append(layer)
    return nn.Sequential(*layers)


def _penalty(net, real, fake):
    t = torch.rand(len(real), *[1] * (real.dim() - 1))
    x = (t * real + (1 - t) * fake).requires_grad_()
    (slope,) = torch.autograd.grad(net(x).sum(), x, create_graph=True)
    return (slope.flatten(1).norm(dim=1) - 1).square().mean()


def _plain():
    """Return the seconds of a round, the fastest of a few, written down plainly."""
    method, c = _method(), CONFIG
    E, D, C = (method.nets[n] for n in ("encoder", "critic", "code_critic"))
    G = _unfused(method.nets["generator"])
    opts = [Adam(net.parameters(), lr=c.lr, betas=(c.beta1, c.beta2)) for net in (E, G, D, C)]
    volumes, seconds = torch.from_numpy(_volumes()), []

    def descend(loss, *updates):
        for opt in opts:
            opt.zero_grad()
        loss.backward()
        for opt in updates:
            opt.step()

    for _ in range(ROUNDS):
        began = time.perf_counter()
        x = volumes[torch.randperm(len(volumes))[: c.batch]]
        code = E(x)
        rebuilt, fresh = G(code), G(torch.randn(c.batch, c.latent))
        scores = C(code).mean() + D(rebuilt).mean() + D(fresh).mean()
        loss = c.reconstruction * (rebuilt - x).abs().mean() - scores
        descend(loss, opts[0], opts[1], opts[1])
        x, z = volumes[torch.randperm(len(volumes))[: c.batch]], torch.randn(c.batch, c.latent)
        code = E(x).detach()
        rebuilt, fresh = G(code).detach(), G(z).detach()
        gap = D(rebuilt).mean() + D(fresh).mean() - 2 * D(x).mean()
        descend(gap + c.penalty * (_penalty(D, x, fresh) + _penalty(D, x, rebuilt)), opts[2])
        descend(C(code).mean() - C(z).mean() + c.penalty * _penalty(C, code, z), opts[3])
        seconds.append(time.perf_counter() - began)
    return min(seconds[1:])


@pytest.mark.slow
def test_a_round_of_alpha_wgan_beside_a_plain_one(benchmark, tmp_path):
    folders = (tmp_path / str(i) for i in range(9))
    ours, plain = [], []

    def both():
        # In turn, so that whatever else the machine does hits both alike.
        ours.append(_harness(next(folders)))
        plain.append(_plain())

    benchmark.pedantic(both, rounds=3, warmup_rounds=1)
    ratio = min(plain) / min(ours)
    benchmark.extra_info.update(plain_over_harness=ratio, threads=torch.get_num_threads())
    print(  # noqa: T201
        f"\nalpha-wgan at {SIZE}^3, batch {CONFIG.batch}, {CONFIG.precision}: "
        f"{min(ours):.2f} s a round; plain / ours = {ratio:.2f}"
    )
    assert ratio > 0
