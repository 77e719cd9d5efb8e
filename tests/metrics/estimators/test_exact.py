"""Float32 stays float32 inside, whatever was set outside, and that comes back."""

from contextlib import suppress

import pytest
import torch

from cerebench.metrics.estimators.exact import exact_float32, is_exact

BACKENDS = torch.backends
MODERN = hasattr(BACKENDS.cudnn, "conv")


def settings():
    """Return everything that decides about float32 products; what cannot be read is left out."""
    found = {}
    readers = {
        "convolutions": lambda: BACKENDS.cudnn.allow_tf32,
        "products": lambda: BACKENDS.cuda.matmul.allow_tf32,
        "precision": torch.get_float32_matmul_precision,
        "enabled": lambda: BACKENDS.cudnn.enabled,
        "benchmark": lambda: BACKENDS.cudnn.benchmark,
    }
    if MODERN:
        operations = {
            "conv": BACKENDS.cudnn.conv,
            "rnn": BACKENDS.cudnn.rnn,
            "matmul": BACKENDS.cuda.matmul,
            "cpu": BACKENDS.mkldnn.matmul,
        }
        for name, operation in operations.items():
            readers[name] = lambda operation=operation: operation.fp32_precision
    for name, read in readers.items():
        with suppress(RuntimeError):
            found[name] = read()
    return found


@pytest.fixture(autouse=True)
def _set_back():
    """Leave torch's settings as they are."""
    before = settings()
    yield
    BACKENDS.cudnn.enabled, BACKENDS.cudnn.benchmark = before["enabled"], before["benchmark"]
    if MODERN:
        BACKENDS.fp32_precision = BACKENDS.cudnn.fp32_precision = "none"
    torch.set_float32_matmul_precision(before["precision"])
    BACKENDS.cudnn.allow_tf32 = before["convolutions"]
    if MODERN:
        BACKENDS.cuda.matmul.fp32_precision = before["matmul"]
        BACKENDS.mkldnn.matmul.fp32_precision = before["cpu"]
    assert settings() == before


def _convolutions_only():
    BACKENDS.cudnn.conv.fp32_precision = "ieee"


def _contradiction():
    torch.set_float32_matmul_precision("high")
    BACKENDS.cuda.matmul.fp32_precision = "ieee"


def _everything():
    BACKENDS.fp32_precision = "tf32"


def _off():
    BACKENDS.cudnn.enabled = False


LATER = pytest.mark.skipif(not MODERN, reason="this torch has no switches by operation")


@pytest.mark.parametrize(
    "change",
    [
        lambda: None,
        lambda: torch.set_float32_matmul_precision("high"),
        lambda: torch.set_float32_matmul_precision("medium"),
        _off,
        pytest.param(_convolutions_only, marks=LATER),
        pytest.param(_contradiction, marks=LATER),
        pytest.param(_everything, marks=LATER),
    ],
    ids=["defaults", "high", "medium", "off", "convolutions", "contradiction", "everything"],
)
def test_float32_is_exact_inside_and_all_is_as_before_afterwards(change):
    change()
    before = settings()
    assert not is_exact()  # cuDNN's default already is not
    with exact_float32():
        assert is_exact()
        assert BACKENDS.cudnn.enabled
        with exact_float32():
            assert is_exact()
        assert is_exact()
    assert settings() == before


def test_settings_come_back_after_an_error():
    before = settings()
    with pytest.raises(KeyError), exact_float32():
        raise KeyError
    assert settings() == before


@pytest.mark.parametrize("loud", [True, False])
def test_products_alone_and_convolutions_alone_are_noticed(loud):
    """With one of the two in TF32 it is not exact."""
    with exact_float32():
        torch.set_float32_matmul_precision("high" if loud else "highest")
        if not loud:
            BACKENDS.cudnn.allow_tf32 = True
        assert not is_exact()
