"""The classifier: a 3D residual network with one channel in and one logit a class out.

First convolution 7^3 to 64 channels, maximum pooling, four stages of basic (depth 10, 18, 34) or
bottleneck blocks (50), global mean, linear layer; convolutional shortcuts (type B) without bias;
weights Kaiming normal (fan out). 46,159,170 parameters at depth 50.

Source: Hara, Kataoka and Satoh 2018, arXiv:1711.09577, and 3D-ResNets-PyTorch; built from MONAI's
network, whose own defaults are another stem and a bias in the shortcuts.
Remark: the first convolution of stem ``paper`` keeps the resolution of one axis, time in videos.
The paper does not say which axis of a volume stands for it; here it is D, across axial slices.
"""

from __future__ import annotations

import torch
from monai.networks.nets.resnet import resnet10, resnet18, resnet34, resnet50
from torch import nn

NETWORKS = {10: resnet10, 18: resnet18, 34: resnet34, 50: resnet50}
STEMS = {"paper": (1, 2, 2), "iso": (2, 2, 2)}  # strides of the first convolution: D, H, W


def resnet(depth: int, stem: str, channels: int, seed: int) -> nn.Module:
    """Build the network; it maps (B, channels, D, H, W) to (B, 2) logits.

    Args:
        depth: Key of ``NETWORKS``.
        stem: Key of ``STEMS``; ``iso`` halves D as well and has the same parameters.
        channels: Channels of a volume.
        seed: Seed of the initial weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NETWORKS[depth](
            spatial_dims=3,
            n_input_channels=channels,
            num_classes=2,
            conv1_t_size=7,
            conv1_t_stride=STEMS[stem],
            shortcut_type="B",
            bias_downsample=False,
        )
