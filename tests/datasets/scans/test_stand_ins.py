"""What lies where an image should be is called what it is."""

import gzip

import numpy as np
import pytest

from cerebench.datasets.base import DatasetError
from cerebench.datasets.scans.reading import canonical_labels
from cerebench.datasets.scans.stand_ins import refuse_stand_in
from cerebench.datasets.scans.volumes import read_grid, read_nifti

PAGE = b"<!DOCTYPE html><html><body>Please log in</body></html>"
STAND_INS = {
    b"": "is empty. Copy or download it again",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 3\n": "git lfs pull",
    b"/annex/objects/SHA256E-s3--ab.nii.gz\n": "datalad get or git annex get",
    PAGE: "is a web page saved under this name",
    b"\n  <?xml version='1.0'?><Error>AccessDenied</Error>": "is a web page",
    "Zugriff verweigert: für dich".encode() * 40: "is a text file .it begins 'Zugriff",
}


@pytest.mark.parametrize("read", [read_nifti, read_grid])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("data", STAND_INS)
def test_a_stand_in_is_named(tmp_path, data, pack, read):
    path = tmp_path / "flair.nii.gz"
    path.write_bytes(pack(data))
    with pytest.raises(DatasetError, match=STAND_INS[data]) as error:
        read(path)
    assert str(error.value).startswith(str(path))


def test_binary_data_is_left_to_the_reader_of_images(tmp_path):
    refuse_stand_in(tmp_path / "x.nii", b"\x5c\x01\x00\x00" + bytes(344))


@pytest.mark.parametrize("error", [-9e-4, -1e-6, 0, 1e-6, 9e-4])
def test_a_mask_within_a_thousandth_of_a_label_is_that_label(error):
    values = np.array([[[0, 1, 2, 4]]], np.float32) + np.float32(error)
    found = canonical_labels(values, {1: 1, 2: 2, 4: 3})
    assert found.tolist() == [[[0, 1, 2, 3]]]


@pytest.mark.parametrize("error", [-2e-3, 2e-3, 0.5])
def test_a_mask_farther_from_its_labels_is_refused_with_the_value(error):
    values = np.array([[[0, 1 + error]]], np.float32)
    with pytest.raises(DatasetError, match=f"{np.float32(1 + error):.6g}"):
        canonical_labels(values, {1: 1, 2: 2})
