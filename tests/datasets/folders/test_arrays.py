"""Arrays as volumes: shapes that are understood, and one line for each that is not."""

import io
import os
import pickle
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest

from cerebench.datasets.base import DatasetError, DatasetNotFound
from cerebench.datasets.folders import arrays
from cerebench.datasets.folders.folder import Options, listed, read, with_axes, with_shape
from cerebench.datasets.scans.headers import Grid

LPS = Grid((4, 5, 6), np.diag([-2.0, -2.0, 2.0, 1.0]))


def stack(count=4, seed=0):
    """Volumes with background -1 whose three edges differ."""
    values = np.random.RandomState(seed).uniform(-1, 1, (count, 6, 5, 4)).astype(np.float32)
    values[:, 0] = -1
    return values


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("four axes", lambda p, v: np.save(p / "a.npy", v)),
        ("a channel", lambda p, v: np.save(p / "a.npy", v[:, None])),
        ("a channel behind", lambda p, v: np.save(p / "a.npy", v[..., None])),
        ("columns first", lambda p, v: np.save(p / "a.npy", np.asfortranarray(v))),
        ("another byte order", lambda p, v: np.save(p / "a.npy", v.astype(">f8"))),
        ("packed", lambda p, v: np.savez_compressed(p / "a.npz", v)),
        ("packed columns first", lambda p, v: np.savez(p / "a.npz", x=np.asfortranarray(v))),
        ("upper case", lambda p, v: np.save((p / "A.NPY").open("wb"), v)),
        ("a file each", lambda p, v: [np.save(p / f"{i}.npy", one) for i, one in enumerate(v)]),
        ("of one", lambda p, v: [np.save(p / f"{i}.npy", one[None]) for i, one in enumerate(v)]),
        ("channels", lambda p, v: [np.save(p / f"{i}.npy", o[..., None]) for i, o in enumerate(v)]),
    ],
)
def test_every_way_to_store_volumes_gives_the_same_volumes(tmp_path, name, save):
    save(tmp_path, stack())
    folder = read(tmp_path, Options())
    assert not folder.faults
    for given, volume in zip(stack(), folder.volumes("all"), strict=True):
        np.testing.assert_array_equal(volume[0], given)
    assert {entry.shape for entry in folder.entries} == {(6, 5, 4)}
    assert any("of 4 volumes, their axes taken as (z, y, x)" in note for note in folder.notes)


def test_a_file_in_the_place_of_a_folder_is_one_class_and_volumes_are_numbered(tmp_path):
    np.save(tmp_path / "mine.npy", stack())
    folder = read(tmp_path / "mine.npy", Options())
    assert [entry.id for entry in folder.classes["all"]] == ["00000", "00001", "00002", "00003"]
    with pytest.raises(DatasetError, match=r"Nothing tells the class of mine\.npy"):
        read(tmp_path / "mine.npy", Options(classes=("LGG", "HGG")))
    with pytest.raises(DatasetNotFound, match="No folder"):
        read(tmp_path / "missing.npy", Options())


def test_each_class_may_be_a_stack(tmp_path):
    for name, count in (("LGG", 3), ("HGG", 5)):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "samples.npy", stack(count))
    folder = read(tmp_path, Options(classes=("LGG", "HGG")))
    assert {name: len(files) for name, files in folder.classes.items()} == {"LGG": 3, "HGG": 5}
    assert folder.classes["LGG"][2].id == "samples/00002"
    assert len({entry.relative for entry in folder.entries}) == 8


def test_contents_identify_a_volume_wherever_it_lies(tmp_path):
    np.save(tmp_path / "a.npy", stack())
    np.savez_compressed(tmp_path / "b.npz", stack()[1:])
    a, b = (read(tmp_path / name, Options()).entries for name in ("a.npy", "b.npz"))
    assert [entry.sha256 for entry in a[1:]] == [entry.sha256 for entry in b]
    assert len({entry.sha256 for entry in a}) == 4


def test_ranges_are_those_of_other_files(tmp_path):
    np.save(tmp_path / "a.npy", (stack() + 1) / 2)
    with pytest.raises(DatasetError, match=r"It looks like \[0, 1\]: give --range 0 1"):
        read(tmp_path / "a.npy", Options(real=True))
    folder = read(tmp_path / "a.npy", Options((0.0, 1.0)))
    np.testing.assert_allclose(folder.volumes("all")[0][0], stack()[0], atol=1e-6)


def test_axes_of_others_turn_an_array_as_they_turn_their_own_file(tmp_path):
    np.save(tmp_path / "a.npy", stack())
    folder = with_axes(read(tmp_path / "a.npy", Options()), LPS)
    np.testing.assert_array_equal(folder.volumes("all")[0][0], stack()[0][:, ::-1, ::-1])


def test_beside_nifti_files_arrays_are_something_else(tmp_path):
    from cerebench.datasets.scans.volumes import write_nifti

    for i, values in enumerate(stack()):
        write_nifti(tmp_path / f"{i}.nii.gz", values, (1.0, 1.0, 1.0))
    np.save(tmp_path / "features.npy", np.zeros((4, 7)))
    folder = read(tmp_path, Options())
    assert len(folder.entries) == 4
    assert any("features.npy" in note for note in folder.notes)


def test_a_volume_that_is_wrong_is_named_with_its_number_and_the_others_stay(tmp_path):
    values = stack()
    values[2, 3, 3, 3] = np.nan
    np.save(tmp_path / "a.npy", values)
    folder = read(tmp_path / "a.npy", Options())
    assert (len(folder.entries), folder.total, folder.noun) == (3, 4, "volumes")
    (line,) = listed(folder.faults)
    assert line.startswith(f"{tmp_path}/a.npy[2] holds 1 NaN values; ")


def test_a_stack_among_subjects_is_no_set_of_cases(tmp_path):
    for i in range(3):
        (tmp_path / f"sub-{i}").mkdir()
        np.save(tmp_path / f"sub-{i}" / "contrasts.npy", stack())
    folder = read(tmp_path, Options())
    assert len(folder.faults) == 3
    assert "holds 4 volumes of one subject" in folder.faults[0].reason


def test_mixed_sizes_are_named(tmp_path):
    np.save(tmp_path / "a.npy", stack())
    np.save(tmp_path / "b.npy", stack()[:1, :, :4])
    (folder,), shape = with_shape([read(tmp_path, Options())], None)
    assert shape == (6, 5, 4)
    (line,) = listed(folder.faults)
    assert line.startswith(f"{tmp_path}/b.npy has shape (6, 4, 4) (z, y, x); expected (6, 5, 4)")


def header(shape, kind="<f4", extra=b""):
    """A file of some bytes whose header announces whatever it will."""
    file = io.BytesIO()
    facts = {"descr": kind, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, facts)
    return file.getvalue() + extra


def packed(**members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in members.items():
            made.writestr(name, data)
    return file.getvalue()


class Evil:
    def __reduce__(self):
        return os.mkdir, ("unpickled",)


def saved(values, **options):
    file = io.BytesIO()
    np.save(file, values, **options)
    return file.getvalue()


def savez(**named):
    file = io.BytesIO()
    np.savez_compressed(file, **named)
    return file.getvalue()


WRONG = {
    "objects": ("a.npy", saved(np.array([Evil()] * 2)), "stores object; real numbers are"),
    "a pickle": ("a.npy", pickle.dumps(Evil()), "is no file of numpy.save"),
    "packed objects": ("a.npz", savez(a=np.array([Evil()] * 2)), "stores object; real numbers are"),
    "complex": ("a.npy", saved(stack().astype(complex)), "stores complex128; real numbers"),
    "truth": ("a.npy", saved(stack() > 0), "stores bool; real numbers"),
    "text": ("a.npy", saved(np.array(["a"])), "stores <U1; real numbers"),
    "a table": ("a.npy", saved(np.zeros(3, [("x", "f4")])), "stores a table; real numbers"),
    "dates": ("a.npy", saved(np.zeros(3, "M8[s]")), "stores datetime64[s]; real numbers"),
    "a number": ("a.npy", saved(np.float32(3)), "has shape (); (D, H, W), (N, D, H, W) or"),
    "two axes": ("a.npy", saved(np.zeros((4, 4))), "has shape (4, 4); (D, H, W), (N, D, H, W) or"),
    "six axes": ("a.npy", saved(np.zeros((1,) * 5 + (4,))), "has shape (1, 1, 1, 1, 1, 4); "),
    "channels": ("a.npy", saved(np.zeros((2, 3, 4, 4, 4))), "has shape (2, 3, 4, 4, 4); "),
    "no volume": ("a.npy", saved(np.zeros((0, 4, 4, 4))), "has shape (0, 4, 4, 4) and thus no"),
    "nothing": ("a.npy", b"", "is no file of numpy.save"),
    "another file": ("a.npy", b"\x89PNG and so on" * 9, "is no file of numpy.save"),
    "cut short": ("a.npy", saved(stack())[:-100], "is cut short, or its header is damaged"),
    "cut in the header": ("a.npy", saved(stack())[:40], "is no file of numpy.save"),
    "announces much": ("a.npy", header((10**6, 512, 512, 512), extra=b"0"), "is cut short"),
    "less than none": ("a.npy", header((-2, 4, 4, 4), extra=b"0" * 64), "is cut short, or its"),
    "a later version": ("a.npy", b"\x93NUMPY\x09\x00" + b" " * 200, "is no file of numpy.save"),
    "a long header": ("a.npy", b"\x93NUMPY\x02\x00" + b"\xff\xff\x00\x00" + b"(" * 65535, "is no"),
    "brackets": ("a.npy", b"\x93NUMPY\x01\x00\x76\x00" + b"(" * 118, "is no file of numpy.save"),
    "a number as header": ("a.npy", b"\x93NUMPY\x01\x00\x76\x00" + b"1" * 118, "is no file of"),
    "no archive": ("a.npz", b"nothing", "is damaged or cut short"),
    "a cut archive": ("a.npz", savez(a=stack())[:-200], "is damaged or cut short"),
    "an empty archive": ("a.npz", packed(), "holds 0 arrays; one is expected"),
    "two arrays": ("a.npz", savez(x=stack(), y=stack()), "holds 2 arrays ('x', 'y'); one is"),
    "a note": ("a.npz", packed(x=b"hello"), "is no file of numpy.save"),
    "a bomb": ("a.npz", packed(x=header((2**30, 8, 8, 8), extra=b"\0" * 9**6)), "is cut short, or"),
    "not finite": ("a.npy", saved(stack() / 0), "holds "),
    "beyond float32": ("a.npy", saved(np.full((2, 4, 4, 4), 1e300)), "] holds 64 infinite values"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
@pytest.mark.parametrize(("name", "data", "told"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_read_is_one_line_that_names_file_and_value(
    tmp_path, monkeypatch, name, data, told
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(data)
    folder = read(tmp_path, Options())
    assert not folder.entries
    for line in listed(folder.faults):
        assert line.startswith(str(tmp_path / name))
        assert told in line
        assert "\n" not in line
        assert line.endswith(".")
    assert not (tmp_path / "unpickled").exists()


def test_an_archive_that_memory_cannot_hold_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    (tmp_path / "a.npz").write_bytes(savez(a=stack()))
    monkeypatch.setattr(
        arrays.psutil, "virtual_memory", lambda: SimpleNamespace(available=100), raising=True
    )
    monkeypatch.setattr(arrays, "_unpacked", None)
    with pytest.raises(DatasetError, match=r"of memory are free\. Save it with numpy\.save"):
        arrays.open_stack(tmp_path / "a.npz")


def test_a_checksum_that_does_not_hold_is_told(tmp_path):
    path, data = tmp_path / "a.npz", bytearray(packed(x=saved(stack())))
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(DatasetError, match=r"a\.npz .*damaged"):
        arrays.read_array(path, 0)
