"""What the settings of methods with an autoencoder and then a transformer have in common.

A ``Config.for_size`` calls these before any network is built.
"""

from __future__ import annotations

from cerebench.methods.base import BadConfig


def fit_levels(
    method: str, channels: tuple[int, ...], latent_size: int, size: int
) -> tuple[int, ...]:
    """Return the channels of an autoencoder's levels, finest first, for an edge length.

    Smaller volumes drop the finest levels, larger ones get more, each with half the channels (at
    least 8).

    Args:
        method: Its name, for the error message.
        channels: Channels at some size.
        latent_size: Edge of the latent grid.
        size: Edge of the volumes, voxels.

    Raises:
        BadConfig: If the size is not the latent grid doubled a few times.
    """
    levels = (size // latent_size).bit_length() - 1
    if levels < 1 or size != latent_size << levels or size < 16 or size & (size - 1):
        raise BadConfig(
            f"{method} cannot work at size {size}: it must be a power of two from 16 on, and "
            f"larger than latent_size = {latent_size}. Set --size 16, 32, 64 or 128."
        )
    widths = channels[-levels:]
    while len(widths) < levels:
        widths = (max(8, widths[0] // 2), *widths)
    return widths


def check_stages(*, autoencoder_steps: int, stop_at: float, width: int, heads: int) -> None:
    """Refuse settings of an autoencoder and a transformer that do not go together.

    Raises:
        BadConfig: If stage 1 would run no step, or heads do not divide the transformer's width.
    """
    if round(stop_at * autoencoder_steps) < 1:
        raise BadConfig(
            f"stop_at = {stop_at} of autoencoder_steps = {autoencoder_steps} leaves no step. "
            "Raise one of the two."
        )
    if width % heads:
        raise BadConfig(
            f"heads = {heads} must divide the transformer's width = {width}. Change one of the two."
        )
