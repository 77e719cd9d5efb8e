"""Every planted defect is reported in one pass, and nothing else is called an error."""

import re
from pathlib import Path

import numpy as np
import pytest

from cerebench.datasets.cache import prepare
from cerebench.datasets.scans.dataset import Scans

BOTH = {"modalities": "flair,t1"}


@pytest.fixture(scope="module")
def broken(fakes, tmp_path_factory):
    """Return the folder with fifteen defects and the report on it."""
    root = tmp_path_factory.mktemp("broken") / "data"
    fakes.defects.make(root)
    return root, Scans(16, root, options=BOTH).check(workers=1)


def reported(report, defect):
    return [
        f
        for f in report.findings
        if (f.severity, f.case) == (defect.severity, defect.case)
        and re.search(defect.message, f.message)
    ]


def test_fifteen_planted_defects_are_reported_in_one_pass(fakes, broken):
    _, report = broken
    assert len(fakes.defects.DEFECTS) == 15
    missed = [d.name for d in fakes.defects.DEFECTS if not reported(report, d)]
    assert missed == []


def test_no_good_case_has_an_error(fakes, broken):
    _, report = broken
    good = {f"patient-{n}" for n in fakes.defects.GOOD}
    assert [f for f in report.findings if f.severity == "error" and f.case in good] == []


def test_every_error_names_a_planted_defect(fakes, broken):
    _, report = broken
    planted = {d.case for d in fakes.defects.DEFECTS} | {"patient-27"}  # the link is its FLAIR
    assert {f.case for f in report.findings if f.severity == "error"} == planted - {
        "scans/notes.docx"
    }


def test_a_modality_that_is_not_used_is_only_a_warning(broken):
    root, _ = broken
    report = Scans(16, root).check(workers=1)
    found = [f for f in report.findings if f.case == "patient-13" and "T1" in f.message]
    assert [f.severity for f in found] == ["warning"]
    assert "T1 (not used) has shape" in found[0].message


def test_several_processes_report_the_same(broken):
    root, report = broken
    assert Scans(16, root, options=BOTH).check(workers=2).findings == report.findings


def test_facts_tell_what_the_files_are(fakes, tmp_path):
    fakes.brats2020.make(tmp_path, fakes.common.make_cases(2, 2))
    next(tmp_path.rglob("*_002_t1ce.nii.gz")).unlink()
    facts = Scans(16, tmp_path).check().facts
    assert facts["layout"] == {"name": "brats2020", "label": "BraTS 2020"}
    assert facts["modalities"] == {"flair": 4, "t1": 4, "t1ce": 3, "t2": 4, "seg": 4}
    assert facts["missing"] == {"t1ce": ["BraTS20_Training_002"]}
    assert facts["shapes"] == {"20×22×24": 4}
    assert facts["spacings"] == {"1×1×1": 4}
    assert facts["saturated"] == []


def test_a_case_stretched_to_another_range_is_named(fakes, tmp_path):
    cases = fakes.common.make_cases(2, 3)
    cases[1].images["flair"] *= 20
    names = fakes.brats2020.make(tmp_path, cases)
    found = [f for f in Scans(64, tmp_path).check().findings if f.case]
    assert [f.case for f in found] == [names[2]]
    assert re.search(r"2[01] times the median of the cases", found[0].message)


def test_a_plateau_below_the_largest_value_is_saturation_too(fakes, tmp_path):
    cases = fakes.common.make_cases(2, 2)
    cases[0].images["flair"] = np.minimum(cases[0].images["flair"], 850)
    names = fakes.brats2020.make(tmp_path, cases)
    report = Scans(64, tmp_path).check()
    (found,) = (f for f in report.findings if f.case == names[1])
    assert "is at 850, its highest value: saturated" in found.message
    assert report.facts["saturated"] == [names[1]]


def test_a_patient_of_two_classes_is_named(fakes, tmp_path):
    fakes.manifest.make(tmp_path, fakes.common.make_cases(2, 2))
    table = tmp_path / "manifest.csv"
    table.write_text(table.read_text().replace("patient-3,patient-3", "patient-3,patient-1"))
    (found,) = (f for f in Scans(64, tmp_path).check().findings if f.case)
    assert "cases of several classes: patient-1, patient-3" in found.message


REAL = Path(__file__).parents[3] / "../shared/data/brats2020-tcga-roi"
real = pytest.mark.skipif(not REAL.is_dir(), reason="the real volumes are not beside the checkout")


@real
@pytest.mark.slow
def test_the_real_cases_are_confounded_and_two_are_stretched():
    report = Scans(32, REAL).check(workers=2)
    whole = " ".join(f.message for f in report.findings if not f.case)
    assert "class and site are confounded: every site has one class only" in whole
    assert [f for f in report.findings if f.severity == "error"] == []
    stretched = {f.case[-3:] for f in report.findings if "saturated" in f.message}
    assert stretched == {"277", "315"}
    # No voxel of a tumour reaches 32767: what is saturated lies outside the masks, and is not here.
    assert report.facts["saturated"] == []
    assert report.facts["highest"] == 22598


@real
@pytest.mark.slow
def test_the_real_cases_are_prepared_whole(tmp_path):
    prepared = prepare(Scans(16, REAL), tmp_path, workers=2)
    assert np.bincount(prepared.labels).tolist() == [36, 21]
