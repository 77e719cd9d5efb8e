"""Weight files: found in order, verified by content, imported whole or not at all."""

import dataclasses
import hashlib
import json
import os

import pytest
import torch

from cerebench.core import weights
from cerebench.metrics.base import MissingWeights

NAME = "inception-2015-12-05"
FILE = "pt_inception-2015-12-05-6726825d.pth"
CONTENT = b"the right bytes"


def without_tensors(path):
    """Return the layout of a file that holds no tensors."""
    return ""


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Three empty places to look in, and a manifest that expects CONTENT."""
    places = {
        "chosen": tmp_path / "chosen",
        "user": tmp_path / "user" / "weights",
        "hub": tmp_path / "torch" / "hub" / "checkpoints",
    }
    for place in places.values():
        place.mkdir(parents=True)
    monkeypatch.setenv("CEREBENCH_WEIGHTS_DIR", str(places["chosen"]))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(weights, "user_data_path", lambda _app: tmp_path / "user")
    prefix = hashlib.sha256(CONTENT).hexdigest()[:8]
    known = dataclasses.replace(weights.KNOWN[NAME], sha256_prefix=prefix)
    monkeypatch.setattr(weights, "KNOWN", {NAME: known})
    return places


def test_manifest_names_the_canonical_file():
    known = weights.KNOWN[NAME]
    assert (known.file, known.sha256_prefix) == (FILE, "6726825d")
    assert "pytorch-fid" in known.origin
    assert known.licence


def test_the_backbone_of_lpips_is_torchvisions_imagenet_file():
    from torchvision.models import VGG16_Weights, vgg16

    known = weights.KNOWN["vgg16-imagenet"]
    assert VGG16_Weights.IMAGENET1K_V1.url.endswith(f"/{known.file}")
    assert known.file == f"vgg16-{known.sha256_prefix}.pth"
    with torch.device("meta"):
        state = vgg16().state_dict()
    assert weights.layout_hash((k, tuple(v.shape)) for k, v in state.items()) == known.layout_sha256
    assert "torchvision" in known.origin
    assert known.licence


def test_squeezenet_is_torchvisions_imagenet_file():
    from torchvision.models import SqueezeNet1_1_Weights

    known = weights.KNOWN["squeezenet1-1-imagenet"]
    assert SqueezeNet1_1_Weights.IMAGENET1K_V1.url.endswith(f"/{known.file}")
    assert known.file == f"squeezenet1_1-{known.sha256_prefix}.pth"
    assert known.licence


def test_places_are_searched_in_order(folders):
    for place in ("hub", "user", "chosen"):
        (folders[place] / FILE).write_bytes(CONTENT)
        assert weights.find(NAME) == folders[place] / FILE


def test_a_wrong_file_is_passed_over(folders):
    (folders["chosen"] / FILE).write_bytes(b"something else")
    (folders["hub"] / FILE).write_bytes(CONTENT)
    assert weights.find(NAME) == folders["hub"] / FILE


def test_a_file_is_hashed_again_only_when_it_changed(folders, monkeypatch):
    hashed = []
    sha256 = weights.sha256_file
    monkeypatch.setattr(weights, "sha256_file", lambda path: hashed.append(path) or sha256(path))
    path = folders["hub"] / FILE
    path.write_bytes(CONTENT)
    assert [weights.find(NAME), weights.find(NAME)] == [path, path]
    assert hashed == [path]
    path.write_bytes(b"the wrong bytes")
    os.utime(path, ns=(0, 0))
    with pytest.raises(MissingWeights, match="wrong file"):
        weights.find(NAME)


def test_status_looks_only_at_the_files_asked_for(folders, monkeypatch):
    other = dataclasses.replace(weights.KNOWN[NAME], name="other", file="other.pth")
    monkeypatch.setattr(weights, "KNOWN", {**weights.KNOWN, "other": other})
    (folders["hub"] / FILE).write_bytes(CONTENT)
    monkeypatch.setattr(weights, "sha256_file", lambda path: pytest.fail(f"{path} was hashed"))
    assert [row["name"] for row in weights.status("other")] == ["other"]


def test_a_missing_file_says_what_to_type(folders):
    with pytest.raises(MissingWeights, match=r"missing.*bench weights import FILE"):
        weights.find(NAME)


def test_only_a_wrong_file_is_refused_by_path(folders):
    (folders["user"] / FILE).write_bytes(b"something else")
    with pytest.raises(MissingWeights, match=r"wrong file: .*user.*bench weights import FILE"):
        weights.find(NAME)


def test_unknown_names_are_refused():
    with pytest.raises(MissingWeights, match=r"No weights named 'vgg'\. Known: inception"):
        weights.find("vgg")


def test_import_knows_the_file_by_content_and_makes_it_findable(folders, tmp_path):
    source = tmp_path / "download.bin"
    source.write_bytes(CONTENT)
    assert weights.import_file(source, without_tensors) == NAME
    assert weights.find(NAME).read_bytes() == CONTENT
    assert [p.name for p in folders["chosen"].iterdir()] == [FILE]
    assert source.exists()


def test_import_goes_to_the_user_directory_by_default(folders, tmp_path, monkeypatch):
    monkeypatch.delenv("CEREBENCH_WEIGHTS_DIR")
    source = tmp_path / "download.bin"
    source.write_bytes(CONTENT)
    weights.import_file(source, without_tensors)
    assert (folders["user"] / FILE).exists()


def test_import_refuses_other_files_and_leaves_nothing(folders, tmp_path):
    source = tmp_path / FILE
    source.write_bytes(b"truncated")
    with pytest.raises(MissingWeights, match="none of the known weight files"):
        weights.import_file(source, without_tensors)
    assert list(folders["chosen"].iterdir()) == []
    with pytest.raises(MissingWeights, match="not a file"):
        weights.import_file(tmp_path / "absent", without_tensors)


def test_a_failed_copy_leaves_the_old_file(folders, tmp_path, monkeypatch):
    (folders["chosen"] / FILE).write_bytes(b"old")
    source = tmp_path / "download.bin"
    source.write_bytes(CONTENT)

    def full_disk(_source, target):
        target.write_bytes(CONTENT[:3])
        raise OSError("No space left on device")

    monkeypatch.setattr(weights.shutil, "copyfile", full_disk)
    with pytest.raises(OSError, match="No space left"):
        weights.import_file(source, without_tensors)
    assert [(p.name, p.read_bytes()) for p in folders["chosen"].iterdir()] == [(FILE, b"old")]


def test_status_lists_every_known_file_in_json_values(folders):
    def states():
        return [(row["name"], row["state"], row["path"]) for row in weights.status()]

    assert states() == [(NAME, "missing", None)]
    path = folders["hub"] / FILE
    path.write_bytes(CONTENT)
    assert states() == [(NAME, "ok", str(path))]
    path.write_bytes(b"something else")
    assert states() == [(NAME, f"wrong file: {path}", None)]
    assert json.loads(json.dumps(weights.status())) == weights.status()
