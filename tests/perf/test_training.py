"""What the harness costs: ``train`` beside a hand-written loop of the same GAN, in the same run.

Prints the ratio and the CPU; times decide nothing. Run with ``pytest tests/perf -s``.
"""

import dataclasses
import platform
import time

import numpy as np
import torch
from torch.optim import Adam

from cerebench.benchmark.stages.training import TrainingData, seeded, train
from cerebench.methods.wgan_gp import QUICK, WGANGP, gradient_penalty

SIZE, STEPS, ROUNDS = 32, 20, 3


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
        return WGANGP(config, size=SIZE, classes=("LGG", "HGG"))


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


def _times(function):
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - wall, time.process_time() - cpu


def test_harness_beside_a_bare_loop(benchmark, tmp_path):
    volumes = np.random.default_rng(0).uniform(-1, 1, (32, 1, SIZE, SIZE, SIZE)).astype(np.float16)
    data = TrainingData(volumes, None, [0] * 32, [str(i) for i in range(32)], "cpu")
    plain = torch.from_numpy(volumes.astype(np.float32))
    folders = (tmp_path / str(i) for i in range(2 * ROUNDS))
    bare, harness = [], []

    def harnessed():
        train(_method(), data, next(folders), seed=0, scope="LGG", progress=lambda *_: None)

    def both():
        # In turn, so that whatever else the machine does hits both alike.
        harness.append(_times(harnessed))
        bare.append(_times(lambda: _bare_loop(plain)))

    benchmark.pedantic(both, rounds=ROUNDS, warmup_rounds=1)
    # The fastest round of each is the one that was disturbed least.
    wall, cpu = (min(h) / min(b) for h, b in zip(_columns(harness), _columns(bare), strict=True))
    speed = STEPS / min(wall for wall, _ in harness)
    benchmark.extra_info.update(wall=wall, cpu=cpu, model=_cpu(), threads=torch.get_num_threads())
    print(  # noqa: T201
        f"\nharness / bare loop: wall {wall:.3f}, CPU {cpu:.3f} ({speed:.1f} steps/s, {_cpu()})"
    )
    assert len(bare) == ROUNDS + 1


def _columns(rows):
    return list(zip(*rows[1:], strict=True))
