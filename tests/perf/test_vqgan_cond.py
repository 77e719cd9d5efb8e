"""A stage-1 step of VQGAN-cond beside a plain implementation of it, in the same run.

Plain: float32, contiguous, torch's own group norm, upsampling and convolution as two operations,
a generator's backward pass that also reaches the discriminator's weights, and features and logits
of both volumes computed anew for the discriminator's own update. Both use the closed form of the
gradient loss, which has its own benchmark. Prints the ratio; times decide nothing. Run with
``pytest tests/perf -s``.
"""

import dataclasses
import time

import numpy as np
import torch
from torch import nn
from torch.optim import Adam

from cerebench.benchmark.stages.training import TrainingData, seeded, train
from cerebench.methods.layers.upsampling import UpsampleConv
from cerebench.methods.layers.vq.autoencoder import final_convolution
from cerebench.methods.layers.vq.losses import (
    adaptive_weight,
    feature_matching,
    gradient_loss,
    hinge,
)
from cerebench.methods.vqgan_cond.config import QUICK
from cerebench.methods.vqgan_cond.method import VQGANCond

SIZE, STEPS = 32, 4
CONFIG = dataclasses.replace(
    QUICK.config, autoencoder_steps=STEPS, discriminator_start=0.0, transformer_steps=0
)


def _method():
    with seeded(0, "init"):
        return VQGANCond(CONFIG, size=SIZE, classes=("LGG", "HGG"))


def _volumes():
    return np.random.default_rng(0).uniform(-1, 1, (16, 1, SIZE, SIZE, SIZE)).astype(np.float32)


def _harness(folder):
    """Return the seconds of a step, the fastest of a few, as the harness runs it."""
    ends = []
    data = TrainingData(_volumes(), None, [0, 1] * 8, [str(i) for i in range(16)], "cpu")
    train(
        _method(), data, folder, seed=0, scope="all",
        progress=lambda *_: ends.append(time.perf_counter()),
    )  # fmt: skip
    return min(np.diff(ends))


def _make_plain(module):
    """Replace folded upsampling and channels-last norms by torch's plain layers."""
    for name, child in module.named_children():
        if isinstance(child, UpsampleConv):
            conv = nn.Conv3d(child.in_channels, child.out_channels, 3, padding=1)
            conv.load_state_dict(child.state_dict())
            setattr(module, name, nn.Sequential(nn.Upsample(scale_factor=2), conv))
        elif isinstance(child, nn.GroupNorm):
            norm = nn.GroupNorm(child.num_groups, child.num_channels, child.eps)
            norm.load_state_dict(child.state_dict())
            setattr(module, name, norm)
        else:
            _make_plain(child)


def _plain():
    """Return the seconds of a step, the fastest of a few, written down plainly."""
    method, c = _method(), CONFIG
    nets, D = method.nets, method.nets["discriminator"]
    for net in nets.values():
        _make_plain(net)
    generator = [
        p
        for name, net in nets.items()
        if name not in ("discriminator", "transformer")
        for p in net.parameters()
    ]
    opts = [Adam(p, c.lr, (c.beta1, c.beta2)) for p in (generator, D.parameters())]
    volumes, labels, seconds = torch.from_numpy(_volumes()), torch.arange(16) % 2, []

    def descend(opt, loss):
        for each in opts:
            each.zero_grad()
        loss.backward()
        for group in opt.param_groups:
            nn.utils.clip_grad_value_(group["params"], c.clip)
        opt.step()

    nets["codebook"].initialise(nets["to_code"](nets["encoder"](volumes[: c.batch])))
    for _ in range(STEPS):
        began = time.perf_counter()
        drawn = torch.randperm(len(volumes))[: c.batch]
        x = volumes[drawn]
        z = nets["to_code"](nets["encoder"](x))
        quantised = nets["codebook"](z)
        y = nets["decoder"](nets["from_code"](quantised.vectors))
        logits, features = D(y)
        terms = {
            "pixel": (y - x).abs().mean(),
            "gradient": gradient_loss(x, y),
            "matching": feature_matching(D(x)[1], features),
            "commitment": quantised.commitment,
            "class": method._class_loss(z, labels[drawn]),
        }
        weight = final_convolution(nets["decoder"]).weight
        balance = adaptive_weight(terms["pixel"], -logits.mean(), weight)
        descend(opts[0], method._weigh(terms) - c.generation_share * balance * logits.mean())
        nets["codebook"].update(z.detach(), quantised.indices, c.restart_after)
        descend(opts[1], hinge(D(x)[0], D(y.detach())[0]))
        seconds.append(time.perf_counter() - began)
    return min(seconds[1:])


def test_a_stage_1_step_beside_a_plain_one(benchmark, tmp_path):
    plain = _plain()
    ours = benchmark.pedantic(_harness, (tmp_path,), rounds=1)
    benchmark.extra_info.update(plain_over_harness=plain / ours, threads=torch.get_num_threads())
    print(  # noqa: T201
        f"\nstage 1, {CONFIG.batch} volumes of {SIZE}^3, {torch.get_num_threads()} threads: "
        f"{ours:.3f} s a step; plain / ours = {plain / ours:.2f} (target: 1.5 or more)"
    )
    assert ours > 0
