"""Labels may be any text, their folders are letters and digits; names are what a path can hold."""

import re
from types import SimpleNamespace

import pytest

from cerebench.datasets.base import DatasetError
from cerebench.datasets.folders import names
from cerebench.datasets.folders.finding import find

LABELS = [
    "../../evil",
    "/etc",
    "a/b",
    "a_b",
    "a b",
    ".",
    "..",
    "a*",
    "LGG",
    "lgg",
    "Größe",
    "x" * 200,
]


@pytest.mark.parametrize("text", ["wgan-gp", "a.b_c-1", "_real", ".x", "x" * 64])
def test_names_are_letters_digits_dots_underscores_and_hyphens(text):
    assert names.is_name(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "a/b",
        "a\\b",
        "a b",
        "a*",
        "-x",
        "a\n",
        "a\0",
        "é",
        "x" * 65,
        "a:b",
        "a\u2028",
    ],
)
def test_everything_else_is_no_name(text):
    assert not names.is_name(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mine", "mine"),
        ("my samples (v2)", "my-samples-v2"),
        ("lr=0.1,batch=4", "lr-0.1-batch-4"),
        ("..", "volumes"),
        ("---", "volumes"),
        ("ä", "volumes"),
        ("x" * 100, "x" * 64),
        ("-x", "x"),
    ],
)
def test_a_folder_gives_a_row_a_name_like_its_own(text, expected):
    found = names.name_like(text, "volumes")
    assert found == expected
    assert names.is_name(found)


def test_labels_get_folders_of_letters_and_digits_that_differ_also_without_case():
    found = names.folder_names(LABELS)
    assert list(found) == LABELS
    assert all(re.fullmatch("[A-Za-z0-9]{1,64}", folder) for folder in found.values())
    assert len({folder.lower() for folder in found.values()}) == len(LABELS)


def test_a_label_of_letters_and_digits_is_its_own_folder():
    labels = ["LGG", "HGG", "0", "glioma", "all", "x" * 64]
    assert names.folder_names(labels) == {label: label for label in labels}


def test_folders_are_known_values():
    assert names.folder_names(["a/b", "a_b", ".."]) == {
        "a/b": "abc14cdd",
        "a_b": "ab648fa9",
        "..": "class5ec1f7",
    }
    assert names.folder_names(["LGG", "lgg"]) == {"LGG": "LGG875f5b", "lgg": "lgg2ad1d6"}


def test_two_labels_that_would_share_a_folder_are_refused():
    with pytest.raises(DatasetError, match=r"'a/b' and 'abc14cdd' would share the folder"):
        names.folder_names(["a/b", "abc14cdd"])
    with pytest.raises(DatasetError, match="would share"):
        names.folder_names(["ABC14cdd", "a/b"])


@pytest.mark.parametrize(
    ("label", "fault"),
    [
        ("", "is empty"),
        ("a\0b", r"'a\\x00b' holds control characters"),
        ("a\nb", "holds control characters"),
        ("a\x1b[2Jb", "holds control characters"),
        ("a\x85", "holds control characters"),
        ("a\u2028b", "holds control characters"),
        ("a\udcffb", "or unreadable ones"),
        ("x" * 201, "has 201 characters; expected at most 200"),
    ],
)
def test_labels_that_cannot_be_shown_are_refused_with_the_place(label, fault):
    with pytest.raises(DatasetError, match=f"table.csv: class label .*{fault}"):
        names.check_labels(["LGG", label], "table.csv")


@pytest.mark.parametrize("label", LABELS)
def test_any_other_text_is_a_label(label):
    names.check_labels([label], "table.csv")


def test_a_text_means_the_same_label_or_the_only_one_that_differs_in_case():
    assert names.find_label("lgg", ["LGG", "HGG"]) == "LGG"
    assert names.find_label("lgg", ["LGG", "lgg"]) == "lgg"
    assert names.find_label("Lgg", ["LGG", "lgg"]) is None
    assert names.find_label("GBM", ["LGG", "HGG"]) is None


@pytest.mark.parametrize(
    ("folder", "label"),
    [
        ("LGG", "LGG"),
        ("Class_lgg", "LGG"),
        ("a_b", "a_b"),
        ("ab648fa9", "a_b"),
        ("abc14cdd", "a/b"),
        ("class_abc14cdd", "a/b"),
        ("ab", None),
        ("class_", None),
    ],
)
def test_class_folders_are_found_by_label_or_folder_name(folder, label):
    assert names.find_folder_label(folder, ["LGG", "a/b", "a_b"]) == label


def fill(root, *folders):
    for folder in folders:
        (root / folder).mkdir(parents=True)
        (root / folder / f"of-{folder}.nii.gz").touch()
    return root


def test_sample_folders_of_classes_that_differ_in_case_are_not_exchanged(tmp_path):
    root = fill(tmp_path, *names.folder_names(["LGG", "lgg", "a/b"]).values())
    found = find(root, ["LGG", "lgg", "a/b"]).volumes
    assert {c: [v.path.name for v in files] for c, files in found.items()} == {
        "LGG": ["of-LGG875f5b.nii.gz"],
        "lgg": ["of-lgg2ad1d6.nii.gz"],
        "a/b": ["of-abc14cdd.nii.gz"],
    }


def test_a_sample_folder_that_lacks_a_class_is_told_its_folder_name(tmp_path):
    with pytest.raises(DatasetError, match=r"expected LGG/ and abc14cdd/"):
        find(tmp_path, ["LGG", "a/b"])


@pytest.mark.parametrize("subject", ["../secret", "/etc", "sub-\0", "x" * 300, "a/../../b", ""])
def test_a_participant_that_is_no_folder_is_refused(tmp_path, subject):
    fill(tmp_path, "sub-1")
    rows = f"sub-1\tLGG\n{subject}\tLGG\n"
    (tmp_path / "participants.tsv").write_text(f"participant_id\tclass\n{rows}")
    with pytest.raises(DatasetError, match=r"participants.tsv: a participant "):
        find(tmp_path, ["LGG"])


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["a-b", "ab"], "both become"),
        (["case1", "CASE1"], "both become"),
        (["é", "b"], "'é' cannot name a subject"),
        (["x" * 65, "b"], "cannot name a subject"),
    ],
)
def test_case_ids_that_make_no_subject_of_their_own_are_refused(ids, message):
    from cerebench.datasets.folders import derivative

    with pytest.raises(DatasetError, match=message):
        derivative._subjects(ids)


def test_a_cache_is_no_place_for_a_dataset_whose_name_leads_out_of_it(tmp_path):
    from cerebench.datasets.cache import prepare

    for name in ("../evil", str(tmp_path / "evil"), "a/b"):
        dataset = SimpleNamespace(info=SimpleNamespace(name=name), cases=list)
        with pytest.raises(DatasetError, match="Rename it"):
            prepare(dataset, tmp_path / "cache")
    assert not list(tmp_path.iterdir())
