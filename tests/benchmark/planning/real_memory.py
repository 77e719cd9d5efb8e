"""Print what training or sampling with a method really takes, MiB, in a process of its own.

``python real_memory.py METHOD PRESET SIZE CASES training|sampling``. The base is what the process
has after all imports and with the cases read, before the method is built; nothing is counted in it.
Of every phase of a training the first two and the last two steps are made.
"""

import sys
import tempfile
from pathlib import Path

import monai.metrics.regression  # noqa: F401  some methods import it while they train
import numpy as np
import torch

from cerebench.benchmark.engine.registry import Registries
from cerebench.benchmark.planning.config import resolve
from cerebench.benchmark.stages import training
from cerebench.benchmark.stages.sampling import SHARD
from cerebench.methods.base import Conditions


def added(work):
    """Return what the process had at most while working, beside what it had before, MiB."""
    before = _kib("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    work()
    return (_kib("VmHWM") - before) / 1024


def _kib(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def main(name, preset, size, cases, what):
    """Train, or sample a shard."""
    cls = Registries().methods.load(name)
    config = resolve(cls, preset).config
    volumes = np.random.default_rng(0).uniform(-1, 1, (cases, 1, *[size] * 3)).astype("f4")
    masks, labels = (volumes > 0).astype("u1"), [i % 2 for i in range(cases)]
    ids = [str(i) for i in range(cases)]
    torch.optim.Adam([torch.zeros(1)]).zero_grad()  # imports what optimisers need
    every = training._Phase._steps

    def few(phase, total):
        for step in every(phase, total):
            yield step
            if phase.done == 1:
                phase.done = max(total - 3, 1)

    training._Phase._steps = few

    def work():
        if what == "training":
            data = training.TrainingData(volumes, masks, labels, ids, "cpu")
        method = cls(config, size=size, classes=("LGG", "HGG"))
        if what == "training":
            with tempfile.TemporaryDirectory() as folder:
                training.train(method, data, Path(folder), seed=0, scope="all")
            return
        for net in method.nets.values():
            net.eval()
        rngs = [torch.Generator().manual_seed(i) for i in range(SHARD)]
        with torch.no_grad():
            method.sample(Conditions(torch.zeros(SHARD, dtype=torch.int64), None), rngs)

    sys.stdout.write(f"{added(work)}\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
