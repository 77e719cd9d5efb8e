"""NIfTI in and out: axes, bits, and what happens to damaged files."""

import gzip

import nibabel as nib
import numpy as np
import pytest

from cerebench.datasets.base import DatasetError
from cerebench.datasets.scans.volumes import read_nifti, read_stored, write_nifti

RAS = np.diag([1.0, 2.0, 3.0, 1.0])


def _save(path, array, affine=RAS):
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


@pytest.fixture
def asymmetric():
    """(X, Y, Z) with a different value in every voxel and a different length on every axis."""
    return np.arange(3 * 4 * 5, dtype=np.int16).reshape(3, 4, 5)


def test_axes_are_z_y_x_of_the_ras_array(tmp_path, asymmetric):
    values, spacing = read_nifti(_save(tmp_path / "a.nii.gz", asymmetric))
    assert values.shape == (5, 4, 3)
    assert values.dtype == np.float32
    assert spacing == (3.0, 2.0, 1.0)
    assert values[4, 1, 2] == asymmetric[2, 1, 4]


@pytest.mark.parametrize("codes", ["LPS", "LAS", "SRA", "PIR"])
def test_any_orientation_gives_the_same_array(tmp_path, asymmetric, codes):
    image = nib.Nifti1Image(asymmetric, RAS)
    turn = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(RAS), nib.orientations.axcodes2ornt(codes)
    )
    nib.save(image.as_reoriented(turn), tmp_path / "turned.nii.gz")
    stored = nib.load(tmp_path / "turned.nii.gz")
    assert "".join(nib.aff2axcodes(stored.affine)) == codes
    values, spacing = read_nifti(tmp_path / "turned.nii.gz")
    assert np.array_equal(values, asymmetric.transpose(2, 1, 0))
    assert spacing == (3.0, 2.0, 1.0)


def test_slope_and_intercept_are_applied(tmp_path, asymmetric):
    data = bytearray(nib.Nifti1Image(asymmetric, RAS).to_bytes())
    # nibabel would choose the factors itself; put them into the header.
    data[112:120] = np.array([0.5, -3], dtype="<f4").tobytes()
    (tmp_path / "scaled.nii").write_bytes(bytes(data))
    values, _ = read_nifti(tmp_path / "scaled.nii")
    assert np.array_equal(values, asymmetric.transpose(2, 1, 0) * 0.5 - 3)
    assert read_stored(tmp_path / "scaled.nii").largest == 32767 * 0.5 - 3


def test_largest_value_of_the_type_is_none_for_floats(tmp_path, asymmetric):
    assert read_stored(_save(tmp_path / "i.nii.gz", asymmetric)).largest == 32767
    assert read_stored(_save(tmp_path / "f.nii.gz", asymmetric.astype(np.float32))).largest is None


def test_nifti_2_is_read(tmp_path, asymmetric):
    nib.save(nib.Nifti2Image(asymmetric, RAS), tmp_path / "two.nii.gz")
    values, _ = read_nifti(tmp_path / "two.nii.gz")
    assert np.array_equal(values, asymmetric.transpose(2, 1, 0))


@pytest.mark.parametrize("name", ["v.nii.gz", "v.nii"])
def test_written_volume_reads_back_bit_for_bit(tmp_path, name):
    volume = np.random.default_rng(0).normal(size=(5, 4, 3)).astype(np.float32)
    volume[0, 0] = [-0.0, 1e-42, np.float32(1) / 3]
    write_nifti(tmp_path / name, volume, (3.0, 2.0, 1.5))
    values, spacing = read_nifti(tmp_path / name)
    assert values.tobytes() == volume.tobytes()
    assert spacing == (3.0, 2.0, 1.5)


def test_written_header_says_ras_synthetic_and_centred(tmp_path):
    write_nifti(tmp_path / "v.nii.gz", np.zeros((6, 5, 4), np.float32), (3.0, 2.0, 1.0))
    image = nib.load(tmp_path / "v.nii.gz")
    assert image.shape == (4, 5, 6)
    assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
    assert (int(image.header["qform_code"]), int(image.header["sform_code"])) == (2, 2)
    assert np.array_equal(image.get_qform(), image.get_sform())
    assert bytes(image.header["descrip"].item()) == b"synthetic"
    assert image.get_data_dtype() == np.float32
    centre = image.affine @ [1.5, 2.0, 2.5, 1.0]
    assert np.allclose(centre[:3], 0)


def test_written_bytes_depend_on_the_volume_only(tmp_path):
    volume = np.random.default_rng(1).normal(size=(4, 4, 4)).astype(np.float32)
    write_nifti(tmp_path / "a.nii.gz", volume, (1.0, 1.0, 1.0))
    write_nifti(tmp_path / "b.nii.gz", volume, (1.0, 1.0, 1.0))
    data = (tmp_path / "a.nii.gz").read_bytes()
    assert data == (tmp_path / "b.nii.gz").read_bytes()
    assert data[3] == 0  # no file name, comment or extra field in the gzip header
    assert data[4:8] == bytes(4)  # no time


@pytest.mark.parametrize(
    ("volume", "name", "message"),
    [
        (np.zeros((1, 2, 2, 2), np.float32), "v.nii.gz", r"shape \(1, 2, 2, 2\)"),
        (np.zeros((2, 2, 2), np.float64), "v.nii.gz", "float64"),
        (np.zeros((2, 2, 2), np.float32), "v.mha", "must end in"),
    ],
)
def test_unwritable_volumes_are_refused(tmp_path, volume, name, message):
    with pytest.raises(DatasetError, match=message):
        write_nifti(tmp_path / name, volume, (1.0, 1.0, 1.0))


def _flip_a_byte(data):
    middle = len(data) - 5  # inside the checksum: the values themselves stay readable
    return data[:middle] + bytes([data[middle] ^ 0xFF]) + data[middle + 1 :]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[: len(data) // 2], "damaged or cut short"),
        (_flip_a_byte, "damaged or cut short"),
        (lambda data: b"", "is empty. Copy or download it again"),
        (lambda data: b"hello", "is a text file .it begins 'hello'., not an image"),
        (lambda data: b"x" * 4000, "is a text file"),
        (lambda data: gzip.decompress(data)[:-3], "cut short"),
    ],
)
def test_damaged_files_are_named(tmp_path, asymmetric, damage, message):
    path = _save(tmp_path / "bad.nii.gz", asymmetric)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DatasetError, match=message) as error:
        read_nifti(path)
    assert str(path) in str(error.value)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"none\.nii\.gz does not exist"):
        read_nifti(tmp_path / "none.nii.gz")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 2, 2, 2), np.float32), "three axes"),
        (np.zeros((2, 2), np.float32), "three axes"),
        (np.zeros((2, 0, 2), np.float32), "no voxels"),
        (np.zeros((2, 2, 2), np.complex64), "complex64"),
        (np.array([[[0, np.nan], [np.inf, 1]]], np.float32), "1 NaN and 1 infinite values"),
        (np.full((2, 2, 2), 1e300), "8 infinite values"),
    ],
)
def test_unusable_contents_are_named(tmp_path, array, message):
    path = _save(tmp_path / "odd.nii.gz", array)
    with pytest.raises(DatasetError, match=message) as error:
        read_nifti(path)
    assert str(path) in str(error.value)


def test_a_voxel_size_of_zero_is_refused(tmp_path, asymmetric):
    data = bytearray(nib.Nifti1Image(asymmetric, RAS).to_bytes())
    data[280:284] = bytes(4)  # srow_x[0]
    (tmp_path / "flat.nii").write_bytes(bytes(data))
    with pytest.raises(DatasetError, match="must be positive"):
        read_nifti(tmp_path / "flat.nii")
