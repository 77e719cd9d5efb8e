"""Reading prepared volumes from the memory map beside reading the NIfTI files, in the same run.

Prints the ratio; times decide nothing. Run with ``pytest tests/perf -s``.
"""

import sys
import time
from pathlib import Path

import numpy as np

from cerebench.datasets.cache import prepare
from cerebench.datasets.scans.dataset import Scans

sys.path.append(str(Path(__file__).parents[1] / "datasets" / "fakes"))

SHAPE = (240, 240, 155)
SIZE = 64
_PAIR = ((1, "LGG"), (2, "LGG"), (3, "HGG"), (4, "HGG"))


def test_memory_map_beside_nifti_files(benchmark, tmp_path):
    import fake_brats2020
    from fake_common import make_case

    fake_brats2020.make(tmp_path / "data", [_flair_only(make_case(n, g, SHAPE)) for n, g in _PAIR])
    dataset = Scans(SIZE, tmp_path / "data")
    prepared = prepare(dataset, tmp_path / "cache", workers=1)
    cases = dataset.cases()

    def mapped():
        return [prepared.volume(i) for i in range(len(cases))]

    def from_files():
        return [dataset.load(case).volume for case in cases]

    benchmark.pedantic(mapped, rounds=5, warmup_rounds=1)
    ratio = _seconds(from_files) / _seconds(mapped)
    benchmark.extra_info.update(files_over_map=ratio)
    print(f"\n{SIZE}^3 from 240x240x155: files / memory map = {ratio:.0f}")  # noqa: T201
    for a, b in zip(mapped(), from_files(), strict=True):
        assert np.abs(a - b).max() <= 2.5e-4


def _flair_only(case):
    """Keep what is read, with zeros outside the tumour, as skull-stripped scans have many."""
    flair = np.where(case.labels > 0, case.images["flair"], 0)
    case.images.clear()
    case.images["flair"] = flair
    return case


def _seconds(function):
    times = []
    for _ in range(2):
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return min(times)
