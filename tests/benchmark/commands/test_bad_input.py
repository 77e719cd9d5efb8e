"""Bad input ends in a few lines that say what is wrong, with the documented exit code."""

import gzip
import struct

import nibabel as nib
import numpy as np
import pytest

USAGE, DATA, WEIGHTS, DISK = 2, 3, 5, 6
LONG = "x" * 200_000


def experiment(old, new):
    """Return what changes a line of the tiny experiment."""

    def write(folder):
        text = (folder / "tiny.toml").read_text()
        assert old in text
        (folder / "tiny.toml").write_text(text.replace(old, new))

    return write


def holding(name, data):
    """Return what writes a file."""

    def write(folder):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    return write


def header(*patches):
    """Return what makes two folders of volumes, one header with (place, format, values)."""

    def write(folder):
        for side in ("real", "fake"):
            for label in ("LGG", "HGG"):
                (folder / side / label).mkdir(parents=True)
                for i in range(2):
                    rng = np.random.default_rng([i, side == "real", label == "LGG"])
                    values = rng.uniform(-1, 1, (8, 8, 8)).astype(np.float32)
                    image = nib.Nifti1Image(values, np.diag([2.0, 2.0, 2.0, 1.0]))
                    nib.save(image, folder / side / label / f"s{i}.nii.gz")
        bad = folder / "fake/LGG/s0.nii.gz"
        data = bytearray(gzip.decompress(bad.read_bytes()))
        for place, form, *values in patches:
            struct.pack_into(form, data, place, *values)
        bad.write_bytes(gzip.compress(bytes(data)))

    return write


def nothing(folder):
    """Change nothing."""


def table(text, encoding="utf-8"):
    """Return what makes a root with a manifest and no images."""
    return holding("data/manifest.csv", text.encode(encoding))


TINY = ("run", "tiny.toml", "--dry-run")
EVALUATE = ("evaluate", "--real", "real", "--fake", "fake")
CHECK = ("data", "check", "data")

OF_EXPERIMENTS = [
    ("binary", holding("tiny.toml", bytes(range(256))), USAGE, "tiny.toml is not valid TOML"),
    ("utf16", holding("tiny.toml", "size = 16".encode("utf-16")), USAGE, "not UTF-8 text (byte 0)"),
    ("nested", holding("tiny.toml", b"a = " + b"[" * 9999), USAGE, "nested too deeply"),
    ("unclosed", holding("tiny.toml", b'title = "x'), USAGE, "tiny.toml is not valid TOML"),
    ("a folder", lambda f: (f / "tiny.toml").unlink() or (f / "tiny.toml").mkdir(), USAGE, "tiny"),
    ("unknown key", experiment("size =", "sizes ="), USAGE, "No experiment key named 'sizes'"),
    ("size as text", experiment("size = 16", 'size = "16"'), USAGE, "size must be a whole number"),
    ("size as list", experiment("size = 16", "size = [16]"), USAGE, "got [16]"),
    ("size below 0", experiment("size = 16", "size = -16"), USAGE, "-16"),
    ("size 17", experiment("size = 16", "size = 17"), USAGE, "17"),
    ("size of 20 digits", experiment("size = 16", f"size = {10**20}"), USAGE, "size"),
    (
        "seed of 20 digits",
        experiment("size", f"seeds = [{10**20}]\nsize"),
        USAGE,
        "0 to 4294967295",
    ),
    ("seed true", experiment("size", "seeds = [true]\nsize"), USAGE, "got [True]"),
    (
        "seed 1.5",
        experiment("size", "seeds = [1.5]\nsize"),
        USAGE,
        "list of whole numbers, got [1.5]",
    ),
    ("seed twice", experiment("size", "seeds = [1, 1]\nsize"), USAGE, "distinct whole numbers"),
    ("seed below 0", experiment("size", "seeds = [-1]\nsize"), USAGE, "got [-1]"),
    ("no seed", experiment("size", "seeds = []\nsize"), USAGE, "got []"),
    ("ESC", experiment("Tiny", "T\\u001b[2J"), USAGE, "title holds control characters"),
    ("NUL in a path", experiment("size", 'data_root = "a\\u0000b"\nsize'), USAGE, "data_root"),
    ("unknown method", experiment('"wgan-gp"', '"wgan_gp"'), USAGE, "Did you mean 'wgan-gp'?"),
    ("endless method", experiment('"wgan-gp"', f'"{LONG}"'), USAGE, "No method named 'xxx"),
    ("unknown metric", experiment('"ms-ssim"', '"ssimm"'), USAGE, "Did you mean 'ssim'?"),
    ("unknown dataset", experiment('"phantom"', '"phantm"'), USAGE, "Did you mean 'phantom'?"),
    ("unknown preset", experiment('"smoke"', '"smok"'), USAGE, "smok"),
    (
        "one sample",
        experiment("class = 10", "class = 1"),
        USAGE,
        "samples_per_class (-n) must be at least",
    ),
    ("too many samples", experiment("class = 10", f"class = {10**9}"), USAGE, "at most 100000"),
    ("split nan", experiment("train = 12", "train = nan"), USAGE, "train"),
    ("split 0", experiment("train = 12", "train = 0"), USAGE, "cannot be split by {'train': 0"),
    ("split of text", experiment("train = 12", 'train = "all"'), USAGE, "got {'train': 'all'"),
]

OF_OPTIONS = [
    ("no experiment", ("run", "none.toml"), USAGE, "No experiment named 'none.toml'"),
    ("experiment NUL", ("run", "a\0b"), USAGE, "No experiment named 'a\\x00b'"),
    ("endless experiment", ("run", LONG), USAGE, "too long for the file system"),
    ("seeds word", (*TINY, "--seeds", "one"), USAGE, "'one'"),
    ("seeds of 20 digits", (*TINY, "--seeds", "9" * 20), USAGE, "9" * 20),
    ("seeds superscript", (*TINY, "--seeds", "²"), USAGE, "²"),
    ("n word", (*TINY, "--n", "many"), USAGE, "--n': Input should be a valid integer"),
    ("n negative", (*TINY, "--n", "-3"), USAGE, "-3"),
    ("size word", (*TINY, "--size", "small"), USAGE, "--size': Input should be a valid integer"),
    ("size of 5,000 digits", (*TINY, "--size", "9" * 5000), USAGE, "--size"),
    ("set without =", (*TINY, "--set", "wgan-gp.lr"), USAGE, "--set expects NAME.field=value"),
    ("set field", (*TINY, "--set", "wgan-gp.learning_rate=1"), USAGE, "no setting 'learning_rate'"),
    ("set nan", (*TINY, "--set", "wgan-gp.lr=nan"), USAGE, "wgan-gp.lr"),
    ("set below 0", (*TINY, "--set", "wgan-gp.steps=-5"), USAGE, "got -5"),
    ("set nested", (*TINY, "--set", "wgan-gp.steps=" + "[" * 9999), USAGE, "wgan-gp.steps"),
    ("set digits", (*TINY, "--set", "wgan-gp.steps=" + "9" * 5000), USAGE, "wgan-gp.steps"),
    ("set of none", (*TINY, "--set", "wgn.lr=1"), USAGE, "wgn"),
    ("data-root", (*TINY, "--data-root", "nowhere"), USAGE, "would not look at nowhere"),
    ("data option", (*TINY, "--data", "modalities"), USAGE, "--data expects NAME=VALUE"),
    ("device", (*TINY, "--device", "tpu"), USAGE, "tpu"),
    ("samples gone", (*TINY, "--samples", "mine=gone"), DATA, "No folder at gone"),
    ("samples name", (*TINY, "--samples", "a b=gone"), USAGE, "'a b'"),
    ("samples NUL", (*TINY, "--samples", "mine=a\0b"), USAGE, "NUL character"),
    ("ignored range", (*TINY, "--accept-range"), USAGE, "--accept-range changes nothing"),
    ("ignored leakage", (*TINY, "--allow-leakage"), USAGE, "nothing without --samples"),
    ("split gone", (*TINY, "--split", "gone.csv"), DATA, "gone.csv"),
    ("plugin gone", (*TINY, "--plugin", "gone.py"), USAGE, "does not exist"),
    ("out is a file", ("run", "tiny.toml", "--out", "tiny.toml"), DISK, "tiny.toml"),
    ("out below a file", ("run", "tiny.toml", "--out", "tiny.toml/a"), DISK, "tiny.toml"),
    ("out NUL", ("run", "tiny.toml", "--out", "a\0b"), USAGE, "--out"),
    ("report of none", ("report", "--out", "gone"), USAGE, "No results in gone"),
    ("siunitx alone", ("report", "--siunitx"), USAGE, "--siunitx changes nothing without --latex"),
    ("to alone", ("report", "--to", "x"), USAGE, "--to changes nothing without --latex"),
    ("list", ("list", "plugins"), USAGE, "plugins"),
    ("show", ("show", "wgan_gp"), USAGE, "Did you mean 'wgan-gp'?"),
    ("check", ("check", LONG), USAGE, "xxx"),
    ("weights gone", ("weights", "import", "gone.pth"), WEIGHTS, "gone.pth is not a file"),
    ("weights of text", ("weights", "import", "tiny.toml"), WEIGHTS, "none of the known weight"),
    ("new name", ("new", "method", "../evil"), USAGE, "../evil"),
    ("sample of none", ("sample", "gone", "-n", "2"), USAGE, "gone"),
    ("no data", ("data", "check", "gone"), DATA, "gone"),
]

OF_VOLUMES = [
    ("dimensions", header((42, "<hhh", 32767, 32767, 32767)), (), "announces"),
    ("no dimension", header((40, "<h", 0)), (), "s0.nii.gz"),
    ("dimension below 0", header((42, "<h", -5)), (), "s0.nii.gz"),
    ("offset 1e30", header((108, "<f", 1e30)), (), "s0.nii.gz"),
    ("offset 0", header((108, "<f", 0.0)), (), "voxels begin at byte 0 (vox_offset)"),
    ("offset nan", header((108, "<f", float("nan"))), (), "s0.nii.gz"),
    ("offset infinite", header((108, "<f", float("inf"))), (), "s0.nii.gz"),
    ("data code", header((70, "<h", 1234)), (), "data code 1234"),
    ("magic", header((344, "<4s", b"abc\0")), (), "s0.nii.gz"),
    ("resample 99999", header(), ("--resample", "99999"), "from 4 to 1024, got '99999'"),
    ("resample superscript", header(), ("--resample", "²²"), "got '²²'"),
    ("resample two", header(), ("--resample", "8,8"), "one or three whole numbers"),
    ("resample digits", header(), ("--resample", "9" * 5000), "from 4 to 1024"),
    ("metrics", header(), ("--metrics", "ssimm"), "Did you mean 'ssim'?"),
]

ODD_HEADERS = [
    ("voxel size 0", header((80, "<f", 0.0)), "pixdim[1,2,3] should be non-zero"),
    ("slope infinite", header((112, "<f", float("inf"))), "scl_slope inf is no number"),
]

OF_TABLES = [
    ("NUL in an id", table("case_id,label,image:flair,seg\na\0b,LGG,x.nii.gz,y.nii.gz\n"), "\\x00"),
    ("NUL in a path", table("case_id,label,image:flair,seg\na,LGG,x\0.nii.gz,y.nii.gz\n"), "a: "),
    ("ESC", table("case_id,label,image:flair,seg\n\x1b[2J,LGG,x.nii.gz,y.nii.gz\n"), "\\x1b[2J"),
    (
        "endless id",
        table(f"case_id,label,image:flair,seg\n{LONG},LGG,x.nii,y.nii\n"),
        "field larger",
    ),
    ("no column", table("id,label\n1,LGG\n"), "lacks the column"),
    (
        "outside",
        table("case_id,label,image:flair,seg\na,LGG,../x.nii.gz,y.nii.gz\n"),
        "../x.nii.gz",
    ),
    (
        "missing",
        table("case_id;label;image:flair;seg\na;LGG;x.nii.gz;y.nii.gz\n", "utf-16"),
        "x.nii.gz",
    ),
    ("workbook", holding("data/manifest.csv", b"PK\x03\x04" + bytes(99)), "is a workbook"),
    ("binary", holding("data/manifest.csv", bytes(999)), "no UTF-8 text, or a binary file"),
    ("empty", table(""), "lacks the column"),
]


def named(rows):
    """Return the rows of a table as parameters, by their first cell."""
    return [pytest.param(*row, id=name) for name, *row in rows]


def told(bench, arguments, code):
    """Run a command, and return what it says on one line, if it ends as it should."""
    found, out, err = bench(*arguments)
    said = f"{out}\n{err}"
    assert "Traceback" not in said
    assert "\x1b[2J" not in said
    assert "\0" not in said
    assert len(said) < 20_000
    assert found == code, said
    return " ".join(said.split())


@pytest.mark.parametrize(("spoil", "code", "words"), named(OF_EXPERIMENTS))
def test_an_experiment_that_asks_for_nonsense(bench, spoil, code, words):
    spoil(bench.folder)
    assert words in told(bench, TINY, code)


@pytest.mark.parametrize(("arguments", "code", "words"), named(OF_OPTIONS))
def test_an_option_that_asks_for_nonsense(bench, arguments, code, words):
    assert words in told(bench, arguments, code)
    assert sorted(p.name for p in bench.folder.iterdir() if p.name != "cache") == ["tiny.toml"]


@pytest.mark.parametrize(("spoil", "more", "words"), named(OF_VOLUMES))
def test_volumes_that_cannot_be_used(bench, spoil, more, words):
    spoil(bench.folder)
    assert words in told(bench, (*EVALUATE, *more), USAGE if more else DATA)


@pytest.mark.parametrize(("spoil", "words"), named(ODD_HEADERS))
def test_odd_headers_are_read_and_told(bench, spoil, words):
    spoil(bench.folder)
    assert words in told(bench, (*EVALUATE, "--metrics", "ms-ssim"), 0)


@pytest.mark.parametrize(("spoil", "words"), named(OF_TABLES))
def test_tables_that_cannot_be_used(bench, spoil, words):
    spoil(bench.folder)
    assert words in told(bench, CHECK, DATA)
