"""Operations that a dry run counts on the meta device."""

import pytest
import torch

from cerebench.benchmark.estimate import sampling_flops, training_flops
from cerebench.methods.med_ddpm import MedDDPM, MedDDPMC, MedDDPMMask


def _counts(cls):
    with torch.device("meta"):
        method = cls(cls.presets["smoke"].config, size=16, classes=("LGG", "HGG"))
    return training_flops(method), sampling_flops(method)


@pytest.fixture(scope="module")
def unconditional():
    return _counts(MedDDPM)


@pytest.mark.parametrize("cls", [MedDDPMMask, MedDDPMC], ids=lambda cls: cls.info.name)
def test_methods_that_need_masks_or_labels_are_counted_too(cls, unconditional):
    """A mask is one more channel of the first layer, a label one row of a table."""
    for conditioned, plain in zip(_counts(cls), unconditional, strict=True):
        assert plain <= conditioned < 1.1 * plain
        assert (conditioned > plain) == (cls is MedDDPMMask)
