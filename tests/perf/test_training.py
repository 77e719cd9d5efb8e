"""What the harness costs: ``train`` beside a hand-written loop of the same GAN, in the same run.

Prints the ratio and the CPU; times decide nothing. Run with ``pytest tests/perf -s``.
"""

import dataclasses
import platform
import time
from statistics import median

import numpy as np
import torch
from torch.optim import Adam

from cerebench.benchmark.training import TrainingData, seeded, train
from cerebench.methods.wgan_gp import QUICK, WGANGP, gradient_penalty

STEPS, ROUNDS = 40, 5


def _cpu():
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    except FileNotFoundError:
        names = []
    return names[0] if names else platform.processor()


def _method():
    config = dataclasses.replace(QUICK.config, steps=STEPS, statistics=0)
    with seeded(0, "init"):
        return WGANGP(config, size=16, classes=("LGG", "HGG"))


def _bare_loop(volumes):
    method = _method()
    c, G, D = method.config, method.nets["generator"], method.nets["critic"]
    for net in (G, D):
        net.to(memory_format=torch.channels_last_3d)
    adam = {"lr": c.lr, "betas": (c.beta1, c.beta2), "fused": True}
    opt_g, opt_d = Adam(G.parameters(), **adam), Adam(D.parameters(), **adam)
    trained_g, trained_d = list(G.parameters()), list(D.parameters())

    def half():
        return torch.autocast(
            "cpu", torch.bfloat16, enabled=c.precision == "bf16", cache_enabled=False
        )

    for _ in range(STEPS):
        for _ in range(c.critic_steps):
            with half():
                real = volumes[torch.randperm(len(volumes))[: c.batch]]
                with torch.no_grad():
                    fake = G(torch.randn(c.batch, c.latent))
                gap = D(fake).mean() - D(real).mean()
                penalty = gradient_penalty(D, real, fake, torch.rand(c.batch))
                loss_d = gap + c.penalty * penalty
            opt_d.zero_grad()
            loss_d.backward(inputs=trained_d)
            opt_d.step()
        for _ in range(c.generator_steps):
            with half():
                loss_g = -D(G(torch.randn(c.batch, c.latent))).mean()
            opt_g.zero_grad()
            loss_g.backward(inputs=trained_g)
            opt_g.step()
    return method


def test_harness_beside_a_bare_loop(benchmark, tmp_path):
    volumes = np.random.default_rng(0).uniform(-1, 1, (32, 1, 16, 16, 16)).astype(np.float16)
    data = TrainingData(volumes, None, [0] * 32, [str(i) for i in range(32)], "cpu")
    plain = torch.from_numpy(volumes.astype(np.float32))
    folders = (tmp_path / str(i) for i in range(10 * ROUNDS))
    bare, harness = [], []

    def both():
        # In turn, so that whatever else the machine does hits both alike.
        method = _method()
        start = time.perf_counter()
        train(method, data, next(folders), seed=0, scope="LGG", progress=lambda *_: None)
        middle = time.perf_counter()
        _bare_loop(plain)
        harness.append(middle - start)
        bare.append(time.perf_counter() - middle)

    benchmark.pedantic(both, rounds=ROUNDS, warmup_rounds=1)
    ratio = median(h / b for h, b in zip(harness[1:], bare[1:], strict=True))
    benchmark.extra_info.update(ratio=ratio, cpu=_cpu(), threads=torch.get_num_threads())
    print(f"\nharness / bare loop = {ratio:.3f} ({STEPS / median(harness):.1f} steps/s, {_cpu()})")  # noqa: T201
    assert len(bare) == ROUNDS + 1
