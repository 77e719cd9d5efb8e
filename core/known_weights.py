"""The weight files that extractors and methods can use: names, hashes, licences, origins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Weights:
    """One known weight file.

    Attributes:
        name: For example ``inception-2015-12-05``.
        file: File name under which it is published and kept.
        sha256_prefix: How the file's SHA-256 begins; empty where its publisher states none.
        layout_sha256: ``layout_hash`` of the tensors in it.
        licence: Licence, as its publisher states it.
        url: Where to get it.
        origin: Whose it is, in words.
    """

    name: str
    file: str
    sha256_prefix: str
    layout_sha256: str
    licence: str
    url: str
    origin: str


def _medicalnet(depth: int, layout: str) -> Weights:
    return Weights(
        name=f"medicalnet-resnet{depth}",
        file=f"resnet_{depth}_23dataset.pth",
        sha256_prefix="",
        layout_sha256=layout,
        licence="MIT",
        url=f"https://huggingface.co/TencentMedicalNet/MedicalNet-Resnet{depth}/resolve/main/"
        f"resnet_{depth}_23dataset.pth",  # as MONAI names it
        origin="the pretrained models of Tencent/MedicalNet at github.com",
    )


KNOWN: Mapping[str, Weights] = {
    w.name: w
    for w in (
        Weights(
            name="inception-2015-12-05",
            file="pt_inception-2015-12-05-6726825d.pth",
            sha256_prefix="6726825d",
            layout_sha256="954403df03f5a6d824cbccdc11f2b359003e906b126822a8a9a1afc4b6c8b849",
            licence="Apache-2.0",
            url="https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
            "pt_inception-2015-12-05-6726825d.pth",
            origin="the release file of pytorch-fid, tag fid_weights, at github.com/mseitzer",
        ),
        Weights(
            name="vgg16-imagenet",
            file="vgg16-397923af.pth",
            sha256_prefix="397923af",
            layout_sha256="8d869fc271c121044b33fc40cad6ff8f4f77d3fc910f61ff601cd53a5de4e832",
            licence="BSD-3-Clause; the terms of its training data, ImageNet, may apply",
            url="https://download.pytorch.org/models/vgg16-397923af.pth",
            origin="torchvision, whose models.vgg16(weights='IMAGENET1K_V1') downloads its 528 MB",
        ),
        Weights(
            name="squeezenet1-1-imagenet",
            file="squeezenet1_1-b8a52dc0.pth",
            sha256_prefix="b8a52dc0",  # torchvision names a file by how its SHA-256 begins
            layout_sha256="2ba7747eadf15fffc0b8d689a92ed3015062031f9734a96d5928c2ebd546da41",
            licence="BSD-3-Clause; the terms of its training data, ImageNet, may apply",
            url="https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth",
            origin="torchvision, whose models.squeezenet1_1(weights='IMAGENET1K_V1') downloads its "
            "5 MB",
        ),
        _medicalnet(10, "8ea6c74b878f557915b0dc2cf4a59a7b2c4fb8baad1216dc3e33cd981b4ab7d2"),
        _medicalnet(18, "c66a6566fd0eeddb10063fc943fcdd7e446a110bbbd9caaa59231b09baf14825"),
        _medicalnet(34, "d90d9db967d7c57da55330f7850a129155ce0d2d35095af95b65af5f9fc1faf2"),
        _medicalnet(50, "bea567d462af6c4a7d5b9915c6f6267c2fb4d4d317b2a28bd18845600eb2f8d2"),
    )
}
