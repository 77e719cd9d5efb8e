"""What the driver answers, and that float32 is float32."""

import pytest
import torch

from cerebench.benchmark import device
from cerebench.benchmark.stages.training import seeded
from cerebench.core.errors import UsageError
from cerebench.metrics.estimators.exact import exact_float32, is_exact


def test_the_gpu_can_be_picked_and_none_beyond_it(gpu):
    assert device.pick_device("auto") == torch.device("cuda", 0)
    assert device.pick_device(str(gpu)) == gpu
    assert device.gpus()[-1] == str(gpu)
    for name in (f"cuda:{gpu.index + 1}", "cuda:99", "mps"):
        with pytest.raises(UsageError):
            device.pick_device(name)


def test_the_driver_answers_for_the_gpu_that_is_asked_about(gpu):
    assert device.device_name(gpu) == torch.cuda.get_device_properties(gpu).name
    assert device.total_memory(gpu) > 2**30
    assert device.has_bf16(gpu) == (torch.cuda.get_device_capability(gpu) >= (8, 0))
    device.reset_peak(gpu)
    held = torch.zeros(2**20, device=gpu)
    device.wait_for(gpu)
    assert 4 <= device.peak_mib(gpu) < 2**10
    assert held.device == gpu


def test_generators_belong_to_the_gpu(gpu):
    first, second = (device.new_generator(gpu).manual_seed(1) for _ in "ab")
    assert first.device == gpu
    drawn = [torch.rand(4, generator=g, device=gpu) for g in (first, second)]
    assert torch.equal(*drawn)


def test_the_global_generator_is_seeded_and_restored(gpu):
    before = torch.cuda.get_rng_state(gpu)
    drawn = []
    for _ in "ab":
        with seeded(3, "name", device=gpu):
            drawn.append(torch.rand(4, device=gpu))
    assert torch.equal(*drawn)
    assert torch.equal(torch.cuda.get_rng_state(gpu), before)


@pytest.mark.parametrize("precision", ["highest", "high"])
def test_products_and_convolutions_are_those_of_float32(gpu, precision):
    """TF32 would be wrong in the third or fourth digit."""
    rng = torch.Generator().manual_seed(0)
    a, b = (torch.randn(256, 256, generator=rng, dtype=torch.float64) for _ in "ab")
    x = torch.randn(2, 16, 12, 12, 12, generator=rng, dtype=torch.float64)
    w = torch.randn(16, 16, 3, 3, 3, generator=rng, dtype=torch.float64)
    torch.set_float32_matmul_precision(precision)
    try:
        with device.exact_arithmetic(gpu):
            assert is_exact()
            product = a.float().to(gpu) @ b.float().to(gpu)
            convolved = torch.conv3d(x.float().to(gpu), w.float().to(gpu))
    finally:
        torch.set_float32_matmul_precision("highest")
    for found, expected in ((product, a @ b), (convolved, torch.conv3d(x, w))):
        error = (found.cpu() - expected).abs().max() / expected.abs().max()
        assert error < 2e-5


def test_the_guard_sets_back_what_was_set():
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    with exact_float32():
        assert is_exact()
    assert before == (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32)
