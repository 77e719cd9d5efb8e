"""Tests that need a CUDA device; each is skipped, with a reason, where there is none."""

from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    skipped = pytest.mark.skip(reason="needs a CUDA device, and torch finds none here")
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.gpu)
            if not torch.cuda.is_available():
                item.add_marker(skipped)


@pytest.fixture
def gpu():
    """The last GPU: where there are several, it is not the one that ``cuda`` alone means."""
    return torch.device("cuda", torch.cuda.device_count() - 1)
