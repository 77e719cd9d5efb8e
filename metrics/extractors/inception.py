"""The Inception network of the Fréchet Inception Distance, 2048 features of a slice.

Topology of the TensorFlow graph of 2015-12-05 with the tensor names of the converted weights of
pytorch-fid (Szegedy et al. 2015, arXiv:1512.00567; Heusel et al. 2017, arXiv:1706.08500). Plain
torch, so that neither torchvision nor a download is needed.

Departures from the paper's network, all in the weights' own graph: average pools leave the padding
out; the last block pools by maximum; batch norm uses eps 1e-3.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from cerebench.metrics import weights
from cerebench.metrics.base import MetricError, MissingWeights

WEIGHTS = "inception-2015-12-05"
SIDE = 299
BATCH = 32


class Inception:
    """The extractor; its weights are verified before a feature is computed.

    Raises:
        MissingWeights: If the verified weight file is not on this machine.
    """

    name = "inception"
    version = 1
    dim = 2048
    ndim = 2
    input = {
        "preprocessing": "inception-pt",
        "quantise": "rint((v + 1) * 127.5), clipped to [0, 255]",
        "channels": "replicated to 3",
        "resize": f"{SIDE}, bilinear, align_corners=False, no antialias",
        "range": "[-1, 1]",
        "layer": "pool3",
    }

    def __init__(self) -> None:
        path = weights.find(WEIGHTS)
        self.weights_sha256 = weights.sha256(path)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network = load_network(path).to(self.device)

    @torch.no_grad()
    def extract(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map slices to pool3 features.

        Args:
            batch: (B, 1, H, W), float32 in [-1, 1].

        Returns:
            (B, 2048) float32.

        Raises:
            MetricError: If the slices do not have exactly one channel.
        """
        if batch.shape[1] != 1:
            raise MetricError(
                f"Inception features were asked of slices with {batch.shape[1]} channels; one is "
                "expected. Score the channels one at a time."
            )
        # TF32 would change features in the third digit, and with them the published meaning.
        with torch.backends.cudnn.flags(allow_tf32=False):
            parts = torch.from_numpy(np.ascontiguousarray(batch)).split(BATCH)
            features = [self.network(preprocess(part.to(self.device))).cpu() for part in parts]
        return torch.cat(features).numpy()


def preprocess(slices: Tensor) -> Tensor:
    """Turn (B, 1, H, W) in [-1, 1] into what the network saw in training, (B, 3, 299, 299).

    As if each slice had been saved as an 8-bit image: that is how published values were made.
    """
    pixels = ((slices + 1.0) * 127.5).round().clamp(0.0, 255.0) / 255.0
    large = functional.interpolate(pixels, (SIDE, SIDE), mode="bilinear", align_corners=False)
    return (2.0 * large - 1.0).expand(-1, 3, -1, -1)


def load_network(path: Path) -> InceptionNetwork:
    """Build the network and fill it from a verified file.

    Raises:
        MissingWeights: If the tensors in the file are not those of this network.
    """
    state = torch.load(path, map_location="cpu", weights_only=True)
    found = weights.layout_hash((name, tuple(t.shape)) for name, t in state.items())
    if found != weights.KNOWN[WEIGHTS].layout_sha256:
        raise MissingWeights(
            f"{path} holds {len(state)} tensors that are not those of {WEIGHTS}. "
            "Run: bench weights import FILE"
        )
    network = InceptionNetwork()
    # Names and shapes are proven above; strict would only ask for batch counters, which are unused.
    network.load_state_dict(state, strict=False)
    return network.eval().requires_grad_(False)


class Unit(nn.Module):
    """Convolution without bias, batch norm, ReLU."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int | tuple[int, int] = 1,
        stride: int = 1,
        padding: int | tuple[int, int] = 0,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.bn(self.conv(x)))


def _row(inputs: int, outputs: int) -> Unit:
    return Unit(inputs, outputs, (1, 7), padding=(0, 3))


def _column(inputs: int, outputs: int) -> Unit:
    return Unit(inputs, outputs, (7, 1), padding=(3, 0))


def _average(x: Tensor) -> Tensor:
    return functional.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


class BlockA(nn.Module):
    """1x1, 5x5, double 3x3 and pooled branches at 35 x 35."""

    def __init__(self, inputs: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = Unit(inputs, 64)
        self.branch5x5_1 = Unit(inputs, 48)
        self.branch5x5_2 = Unit(48, 64, 5, padding=2)
        self.branch3x3dbl_1 = Unit(inputs, 64)
        self.branch3x3dbl_2 = Unit(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Unit(96, 96, 3, padding=1)
        self.branch_pool = Unit(inputs, pooled)

    def forward(self, x: Tensor) -> Tensor:
        five = self.branch5x5_2(self.branch5x5_1(x))
        three = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch1x1(x), five, three, self.branch_pool(_average(x))], 1)


class BlockB(nn.Module):
    """Reduction from 35 x 35 to 17 x 17."""

    def __init__(self) -> None:
        super().__init__()
        self.branch3x3 = Unit(288, 384, 3, stride=2)
        self.branch3x3dbl_1 = Unit(288, 64)
        self.branch3x3dbl_2 = Unit(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Unit(96, 96, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), double, functional.max_pool2d(x, 3, stride=2)], 1)


class BlockC(nn.Module):
    """Factorised 7x7 branches at 17 x 17."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch1x1 = Unit(768, 192)
        self.branch7x7_1 = Unit(768, width)
        self.branch7x7_2 = _row(width, width)
        self.branch7x7_3 = _column(width, 192)
        self.branch7x7dbl_1 = Unit(768, width)
        self.branch7x7dbl_2 = _column(width, width)
        self.branch7x7dbl_3 = _row(width, width)
        self.branch7x7dbl_4 = _column(width, width)
        self.branch7x7dbl_5 = _row(width, 192)
        self.branch_pool = Unit(768, 192)

    def forward(self, x: Tensor) -> Tensor:
        seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return torch.cat([self.branch1x1(x), seven, double, self.branch_pool(_average(x))], 1)


class BlockD(nn.Module):
    """Reduction from 17 x 17 to 8 x 8."""

    def __init__(self) -> None:
        super().__init__()
        self.branch3x3_1 = Unit(768, 192)
        self.branch3x3_2 = Unit(192, 320, 3, stride=2)
        self.branch7x7x3_1 = Unit(768, 192)
        self.branch7x7x3_2 = _row(192, 192)
        self.branch7x7x3_3 = _column(192, 192)
        self.branch7x7x3_4 = Unit(192, 192, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        three = self.branch3x3_2(self.branch3x3_1(x))
        seven = self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x)))
        pooled = functional.max_pool2d(x, 3, stride=2)
        return torch.cat([three, self.branch7x7x3_4(seven), pooled], 1)


class BlockE(nn.Module):
    """Split 3x3 branches at 8 x 8."""

    def __init__(self, inputs: int, *, pool_by_maximum: bool) -> None:
        super().__init__()
        self.pool_by_maximum = pool_by_maximum
        self.branch1x1 = Unit(inputs, 320)
        self.branch3x3_1 = Unit(inputs, 384)
        self.branch3x3_2a = Unit(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3_2b = Unit(384, 384, (3, 1), padding=(1, 0))
        self.branch3x3dbl_1 = Unit(inputs, 448)
        self.branch3x3dbl_2 = Unit(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = Unit(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3dbl_3b = Unit(384, 384, (3, 1), padding=(1, 0))
        self.branch_pool = Unit(inputs, 192)

    def forward(self, x: Tensor) -> Tensor:
        three = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        pooled = functional.max_pool2d(x, 3, 1, 1) if self.pool_by_maximum else _average(x)
        branches = [
            self.branch1x1(x),
            self.branch3x3_2a(three),
            self.branch3x3_2b(three),
            self.branch3x3dbl_3a(double),
            self.branch3x3dbl_3b(double),
            self.branch_pool(pooled),
        ]
        return torch.cat(branches, 1)


class InceptionNetwork(nn.Module):
    """(B, 3, 299, 299) in [-1, 1] to the (B, 2048) spatial means of the last block.

    ``fc`` is never used; it is there because the weight file has it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Unit(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = Unit(32, 32, 3)
        self.Conv2d_2b_3x3 = Unit(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = Unit(64, 80)
        self.Conv2d_4a_3x3 = Unit(80, 192, 3)
        self.Mixed_5b = BlockA(192, pooled=32)
        self.Mixed_5c = BlockA(256, pooled=64)
        self.Mixed_5d = BlockA(288, pooled=64)
        self.Mixed_6a = BlockB()
        self.Mixed_6b = BlockC(128)
        self.Mixed_6c = BlockC(160)
        self.Mixed_6d = BlockC(160)
        self.Mixed_6e = BlockC(192)
        self.Mixed_7a = BlockD()
        self.Mixed_7b = BlockE(1280, pool_by_maximum=False)
        self.Mixed_7c = BlockE(2048, pool_by_maximum=True)
        self.fc = nn.Linear(2048, 1008)

    def forward(self, x: Tensor) -> Tensor:
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(functional.max_pool2d(x, 3, stride=2)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(functional.max_pool2d(x, 3, stride=2))))
        x = self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))
        x = self.Mixed_7a(self.Mixed_6e(self.Mixed_6d(x)))
        return self.Mixed_7c(self.Mixed_7b(x)).mean(dim=(2, 3))
