"""3D-Med-DDPM at 32^3 beside the same network in plain float32, contiguous, in the same run.

Prints the ratios; times decide nothing. Run with ``pytest tests/perf -s``.
"""

import copy
import time

import torch
from torch.optim import Adam

from cerebench.benchmark.training import _prepare, seeded
from cerebench.methods.med_ddpm import QUICK, MedDDPM

SIZE, ROUNDS = 32, 3


def _plain(net):
    """Return a copy in torch's default layout, without the change of layout before each norm."""
    plain = copy.deepcopy(net)
    for module in plain.modules():
        module._forward_pre_hooks.clear()
    for parameter in plain.parameters():
        parameter.data = parameter.data.contiguous()
    return plain


def _step(net, adam, x, times, noise, *, half):
    with torch.autocast("cpu", torch.bfloat16, enabled=half, cache_enabled=False):
        loss = (net(x, times).float() - noise).abs().mean()
    adam.zero_grad()
    loss.backward()
    adam.step()


def _forward(net, x, times, *, half):
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=half):
        return net(x, times).float()


def _seconds(function):
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def test_training_step_and_prediction_beside_plain_float32(benchmark):
    with seeded(0, "init"):
        method = MedDDPM(QUICK.config, size=SIZE, classes=("LGG", "HGG"))
    net = method.nets["unet"]
    plain = _plain(net)
    _prepare({"unet": net}, torch.device("cpu"))
    lr, half = method.config.lr, method.config.precision == "bf16"
    x, noise = torch.randn(2, method.config.batch, 1, SIZE, SIZE, SIZE)
    times = torch.randint(0, method.config.timesteps, (method.config.batch,))
    fused, unfused = Adam(net.parameters(), lr=lr, fused=True), Adam(plain.parameters(), lr=lr)
    runs = {
        "step": lambda: _step(net, fused, x, times, noise, half=half),
        "plain step": lambda: _step(plain, unfused, x, times, noise, half=False),
        "prediction": lambda: _forward(net, x, times, half=half),
        "plain prediction": lambda: _forward(plain, x, times, half=False),
    }
    seconds = {name: [] for name in runs}

    def all_in_turn():
        # In turn, so that whatever else the machine does hits all alike.
        for name, run in runs.items():
            seconds[name].append(_seconds(run))

    benchmark.pedantic(all_in_turn, rounds=ROUNDS, warmup_rounds=1)
    best = {name: min(values[1:]) for name, values in seconds.items()}
    ratios = {name: best[f"plain {name}"] / best[name] for name in ("step", "prediction")}
    benchmark.extra_info.update(ratios, threads=torch.get_num_threads())
    print(  # noqa: T201
        f"\nplain / ours: step {ratios['step']:.2f}, prediction {ratios['prediction']:.2f} "
        f"({best['step']:.3f} s per step of {method.config.batch})"
    )
    difference = (_forward(net, x, times, half=half) - _forward(plain, x, times, half=False)).abs()
    assert difference.mean() < 0.1
