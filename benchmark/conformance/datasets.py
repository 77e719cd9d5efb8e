"""``bench check DATASET``: what every dataset must do, tried on the files that it is given."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable
from functools import cached_property

import numpy as np

from cerebench.benchmark.conformance.checks import Check, judge, require
from cerebench.benchmark.engine.registry import Registries
from cerebench.benchmark.names import check_dataset
from cerebench.benchmark.planning.source import SPLIT_SEED, Source
from cerebench.core.hashing import sha256_bytes
from cerebench.datasets.base import Case, CheckReport, Dataset, Finding, Loaded
from cerebench.datasets.cache import loaded_fault

_NAMED = 3


class Subject:
    """A dataset under test; what is expensive is done once and shared by the checks."""

    def __init__(self, source: Source, registries: Registries) -> None:
        self.name, self._source, self._registries = source.name, source, registries
        self.dataset = self.open()  # what is wrong with the files themselves is told at once

    def open(self) -> Dataset:
        """Return the dataset anew."""
        return self._source.open(self._registries)

    @cached_property
    def cases(self) -> list[Case]:
        """All cases."""
        return list(self.dataset.cases())

    @cached_property
    def firsts(self) -> list[Case]:
        """The first case of each class that has one."""
        of_label: dict[int, Case] = {}
        for case in self.cases:
            of_label.setdefault(case.label, case)
        return list(of_label.values())

    @cached_property
    def loaded(self) -> list[Loaded]:
        """These cases, loaded."""
        return [self.dataset.load(case) for case in self.firsts]

    @property
    def hashes(self) -> dict[str, str]:
        """Made-up hashes of all files: a fingerprint may depend on nothing else of them."""
        paths = [str(path) for case in self.cases for path in case.files.values()]
        return {path: sha256_bytes(path.encode()) for path in paths}


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(map(repr, names[:_NAMED]))}{more}"


def facts_are_complete(s: Subject) -> None:
    """Name, classes, channels, source and licence are there, and can stand in paths and tables."""
    info = s.dataset.info
    require(info.name == s.name, f"it is registered as '{s.name}' but info.name is '{info.name}'")
    check_dataset(s.name, s.dataset)
    for field in ("label", "classes", "channels", "source", "licence"):
        require(bool(getattr(info, field)), f"info.{field} is empty")
    for field in ("classes", "channels"):
        names = getattr(info, field)
        require(len(set(names)) == len(names), f"info.{field} names one twice: {names}")
    spacing = s.dataset.spacing
    positive = len(spacing) == 3 and all(0 < edge < np.inf for edge in spacing)
    require(positive, f"spacing is {spacing}; give three edge lengths (D, H, W) in mm above 0")


def cases_are_listed_alike_each_time(s: Subject) -> None:
    """Two instances list the same cases in the same order."""
    again = [case.id for case in s.open().cases()]
    require(bool(again), "cases() is empty; list at least one case of each class")
    require([case.id for case in s.cases] == again, "cases() changes; sort what it lists")


def ids_are_unique(s: Subject) -> None:
    """No two cases have one id, and every case names its patient."""
    twice = [name for name, count in Counter(case.id for case in s.cases).items() if count > 1]
    require(not twice, f"ids stand for several cases: {_some(twice)}")
    silent = [case.id for case in s.cases if not (case.id and case.patient)]
    require(not silent, f"cases have an empty id or patient: {_some(silent)}")


def every_class_has_cases(s: Subject) -> None:
    """Labels are positions in info.classes, and each is taken."""
    classes = s.dataset.info.classes
    wrong = [case.id for case in s.cases if case.label not in range(len(classes))]
    require(not wrong, f"the label is no position in info.classes: {_some(wrong)}")
    empty = [c for label, c in enumerate(classes) if all(k.label != label for k in s.cases)]
    require(not empty, f"classes without a case: {_some(empty)}")


def volumes_are_as_agreed(s: Subject) -> None:
    """A case of each class is float32 in [-1, 1], of the size, background -1, with its mask."""
    info, size = s.dataset.info, s.dataset.size
    for case, loaded in zip(s.firsts, s.loaded, strict=True):
        fault = loaded_fault(loaded, (len(info.channels), size, size, size))
        require(not fault, f"{case.id}: load() returned {fault}")
        for what, array, kind in (
            ("volume", loaded.volume, np.float32),
            ("mask", loaded.mask, np.uint8),
        ):
            message = f"{case.id}: the {what} is {array.dtype}; make it {np.dtype(kind)}"
            require(array.dtype == kind, message)
        low = loaded.volume.min()
        require(low == -1, f"{case.id}: the lowest value is {low:g}; the background must be -1")


def loading_is_reproducible(s: Subject) -> None:
    """The same case gives the same bits, from another instance too."""
    again = [s.open().load(case) for case in s.firsts]
    for case, one, other in zip(s.firsts, s.loaded, again, strict=True):
        alike = np.array_equal(one.volume, other.volume) and np.array_equal(one.mask, other.mask)
        require(alike, f"{case.id} differs when it is loaded again; draw nothing at random")


def the_fingerprint_is_stable(s: Subject) -> None:
    """Equal files give one fingerprint; another content of any one file gives another."""
    hashes = s.hashes
    first = s.dataset.fingerprint(hashes)
    require(first == s.open().fingerprint(hashes), "equal files give different fingerprints")
    for path in dict.fromkeys([*list(hashes)[:1], *list(hashes)[-1:]]):
        changed = s.dataset.fingerprint({**hashes, path: sha256_bytes(b"other")})
        require(changed != first, f"the fingerprint does not change with the content of {path}")


def the_split_is_by_patient(s: Subject) -> None:
    """Training and test cases share no patient, are known, and both have every class."""
    split = s.dataset.split(SPLIT_SEED)
    require(split == s.open().split(SPLIT_SEED), "the same seed gives different splits")
    of_id = {case.id: case for case in s.cases}
    unknown = [name for name in (*split.train, *split.test) if name not in of_id]
    require(not unknown, f"the split names ids that cases() does not list: {_some(unknown)}")
    train, test = ({of_id[name].patient for name in ids} for ids in (split.train, split.test))
    both = sorted(train & test)
    require(not both, f"patients with training and test cases: {_some(both)}")
    for role, ids in (("training", split.train), ("test", split.test)):
        there = {of_id[name].label for name in ids}
        lacking = [c for label, c in enumerate(s.dataset.info.classes) if label not in there]
        require(not lacking, f"no {role} case of the classes {_some(lacking)}")


def check_reports_findings(s: Subject) -> None:
    """check() returns a CheckReport whose findings are errors or warnings."""
    report = s.dataset.check()
    require(isinstance(report, CheckReport), "check() returned no CheckReport")
    for found in report.findings:
        good = isinstance(found, Finding) and found.severity in ("error", "warning")
        require(good, f"{found!r} is no Finding of severity 'error' or 'warning'")


def it_can_be_prepared_by_several_processes(s: Subject) -> None:
    """The dataset can be pickled, as preparation on all cores needs it."""
    copy = pickle.loads(pickle.dumps(s.dataset))
    require([c.id for c in copy.cases()] == [c.id for c in s.cases], "a pickled copy lists others")


CHECKS: tuple[Callable[[Subject], None], ...] = (
    facts_are_complete,
    cases_are_listed_alike_each_time,
    ids_are_unique,
    every_class_has_cases,
    volumes_are_as_agreed,
    loading_is_reproducible,
    the_fingerprint_is_stable,
    the_split_is_by_patient,
    check_reports_findings,
    it_can_be_prepared_by_several_processes,
)


def check(source: Source, registries: Registries) -> list[Check]:
    """Run the suite on a dataset.

    Raises:
        DatasetError: If it cannot be opened on these files at all.
        UnknownPlugin: If there is no such dataset.
    """
    subject = Subject(source, registries)
    return [judge(requirement, subject) for requirement in CHECKS]
