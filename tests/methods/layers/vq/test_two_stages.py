"""Settings of an autoencoder and a transformer: levels for a size, and what does not fit."""

import pytest

from cerebench.methods.base import BadConfig
from cerebench.methods.layers.vq.two_stages import check_stages, fit_levels

SETTINGS = {"autoencoder_steps": 10, "stop_at": 0.5, "width": 12, "heads": 3}


@pytest.mark.parametrize(
    ("size", "widths"),
    [(64, (32, 64, 128)), (32, (64, 128)), (16, (128,)), (128, (16, 32, 64, 128))],
)
def test_levels_come_and_go_at_the_fine_end(size, widths):
    assert fit_levels("m", (32, 64, 128), 8, size) == widths


def test_a_further_level_has_no_fewer_than_eight_channels():
    assert fit_levels("m", (8, 16), 8, 64) == (8, 8, 16)


@pytest.mark.parametrize(("latent", "size"), [(8, 8), (8, 48), (4, 8), (6, 24)])
def test_a_size_that_is_not_the_grid_doubled_is_refused_by_name(latent, size):
    with pytest.raises(BadConfig, match=f"some-method cannot work at size {size}"):
        fit_levels("some-method", (32,), latent, size)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, None),
        ({"stop_at": 0.04}, "leaves no step"),
        ({"heads": 5}, "heads = 5 must divide the transformer's width = 12"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(change, message):
    if message is None:
        return check_stages(**SETTINGS)
    with pytest.raises(BadConfig, match=message):
        check_stages(**SETTINGS | change)
    return None
