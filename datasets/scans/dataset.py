"""Folders of scans in any known layout, preprocessed by a recipe.

The layout is recognised by content (see ``listing.py``), one reader serves all of them, and the
same case gives the same bits in each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from cerebench.core.hashing import key_of
from cerebench.core.texts import counted
from cerebench.datasets.base import (
    BadOption,
    Case,
    CheckReport,
    Dataset,
    DatasetError,
    DatasetInfo,
    DatasetNotFound,
    Finding,
    Loaded,
    Progress,
    Recipe,
    Split,
)
from cerebench.datasets.layouts.base import GRADES, LABELS, MODALITIES
from cerebench.datasets.layouts.listing import CaseList, list_cases, some
from cerebench.datasets.parallel import default_workers, in_order
from cerebench.datasets.scans import checking, skipping
from cerebench.datasets.scans.reading import CAVITY, HEADERS, UnusableCase, grid_faults, read_scan
from cerebench.datasets.scans.recipes import OPTIONS, procedure
from cerebench.datasets.scans.volumes import read_grid
from cerebench.datasets.splits import describe_split, falls_short, patient_split, read_rule


class Scans(Dataset):
    """Cases of one folder.

    Options: ``modalities`` (channels, FLAIR by default), ``recipe`` with its ``crop``,
    ``percentile`` and ``wide`` (see ``recipes.py``), ``layout`` (where the content shows several),
    ``labels`` (what the numbers of the masks mean), ``subset`` (``brats2019``), ``headers`` (whose
    header holds where the files of a case are stored along different axes: ``image`` or ``own``).
    """

    info = DatasetInfo(
        name="scans",
        label="Scans in any known layout",
        classes=GRADES,
        channels=("flair",),
        source="the owner of the files",
        licence="as the owner of the files says",
        synthetic=False,
        needs_root=True,
    )
    option_names = ("modalities", "recipe", *OPTIONS, "layout", "labels", "subset", "headers")
    can_leave_out = True

    def __init__(
        self,
        size: int,
        root: Path | None = None,
        rule: Mapping[str, int] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(size, root, rule, options)
        name = self.info.name
        self.procedure = procedure(self.options)
        if not 1 <= size <= self.procedure.crop:
            raise BadOption(
                f"{name} cannot give volumes of size {size}; the recipe {self.procedure.name} cuts "
                f"{self.procedure.crop} voxels of 1 mm. Use --size with 1 to {self.procedure.crop}."
            )
        if root is None:
            raise DatasetNotFound(
                f"{name} needs its files. Set --data-root, or see docs/datasets.md for how to get "
                "them."
            )
        read_rule(self.rule)
        self.folder = Path(root)
        self.modalities = _modalities(self.options.get("modalities", "flair"))
        layout = self.listed.layout
        self.labels = _labels(self.options.get("labels"), layout.labels)
        self.headers = _headers(self.options.get("headers", ""))
        self._examined: list[checking.Examined] | None = None
        self.info = replace(
            self.info,
            name=layout.family,
            label=f"{layout.label}, {self.procedure.name}",
            classes=self.listed.classes,
            channels=self.modalities,
            source=layout.source,
            licence=layout.licence,
        )

    @cached_property
    def listed(self) -> CaseList:
        """The layout, its cases, and what is wrong with names and tables."""
        needed = (*self.modalities, "seg") if self.procedure.needs_mask else self.modalities
        return list_cases(
            self.folder, needed, self.options.get("layout"), self.options.get("subset")
        )

    @property
    def recipe(self) -> Recipe:
        """The procedure with its options, and the choice of headers where one was made."""
        recipe = self.procedure.recipe
        if not self.headers:  # so that what is usual keeps the hash it always had
            return recipe
        return replace(recipe, settings={**recipe.settings, "headers": self.headers})

    @property
    def recipe_id(self) -> str:
        """Return the id of the procedure, with the choice of headers where one was made."""
        if not self.headers:
            return self.procedure.id
        points, _, _ = self.procedure.id.rpartition(")@")
        return f"{points},headers={self.headers})@{self.recipe.sha256[:8]}"

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Edge of the crop divided by the size, mm, along every axis."""
        edge = self.procedure.crop / self.size
        return edge, edge, edge

    def cases(self) -> Sequence[Case]:
        """List the cases by id.

        Raises:
            DatasetError: If cases lack files or a class, or occur twice; all are named.
        """
        errors = [f for f in self.listed.findings if f.severity == "error"]
        if errors:
            raise self._refused(errors, ", or leave out the cases with --skip-bad")
        if not self.listed.cases:
            why = f" {' '.join(self.left_out.lines)}" if self.left_out else " Add cases."
            raise DatasetError(f"{self.folder} holds no case that can be used.{why}")
        return self.listed.cases

    def _refused(self, errors: Sequence[Finding], way_out: str = "") -> DatasetError:
        lines = "\n".join(f"{f.case}: {f.message}" if f.case else f.message for f in errors)
        return DatasetError(
            f"{counted(len(errors), 'thing')} in {self.folder} to correct. Repair or remove that"
            f"{way_out}; bench data check looks into the files, too:\n{lines}"
        )

    def fingerprint(self, hashes: Mapping[str, str]) -> str:
        """Return the SHA-256 of the contents of all files, of classes, size and recipe."""
        names = [*self.modalities, "seg"]
        cases = {
            case.id: [case.label, *(hashes[str(case.files[n])] for n in names if n in case.files)]
            for case in self.cases()
        }
        facts: dict[str, Any] = {"recipe": self.recipe.facts, "size": self.size, "cases": cases}
        # What is usual is left out, so that it keeps the fingerprint it always had.
        if self.modalities != ("flair",):
            facts["modalities"] = list(self.modalities)
        if self.listed.layout.channels:
            facts["channels"] = [self.listed.layout.channels[m] for m in self.modalities]
        if CAVITY in self.labels.values():
            facts["cavity"] = sorted(k for k, v in self.labels.items() if v == CAVITY)
        if self.left_out:
            facts["left_out"] = sorted([*self.left_out.cases, *self.left_out.others])
        return key_of(facts)

    def load(self, case: Case) -> Loaded:
        """Read the scans of a case and apply the procedure."""
        scan = read_scan(case, self.modalities, self.listed.layout, self.labels, self.headers)
        try:
            loaded = self.procedure.apply(scan.images, scan.tumour, scan.spacing, self.size)
        except DatasetError as e:
            raise UnusableCase(case.id, [str(e)]) from e
        inside = np.s_[:] if scan.tumour is None else scan.tumour > 0
        faults = [
            fault
            for name, image in zip(self.modalities, scan.images, strict=True)
            if (fault := checking.constant_fault(name, image[inside]))
        ]
        if faults:
            raise UnusableCase(case.id, faults)
        content = [checking.content_hash(image) for image in scan.images]
        return replace(loaded, facts={**loaded.facts, "content": content})

    def split(self, seed: int) -> Split:
        """Split by patient, stratified by class, as the rule says."""
        cases, test = self.cases(), read_rule(self.rule)
        try:
            return patient_split(cases, self.info.classes, test, seed)
        except DatasetError as e:
            raise DatasetError(f"{e}{self._missing()}") from e

    def check(self, progress: Progress | None = None, workers: int | None = None) -> CheckReport:
        """Report everything that is wrong with the files, case by case; reads every volume."""
        cases, examiner = self.listed.cases, self._examiner()
        examined = self._examined
        if examined is None:
            examined = []
            for case_examined in in_order(examiner, cases, workers or default_workers(len(cases))):
                examined.append(case_examined)
                if progress:
                    progress(len(examined), len(cases))
        findings = [
            *self.listed.findings,
            *(f for case in cases for f in examiner.unused_contrasts(case)),
            *(f for e in examined for f in e.findings),
            *checking.compare(examined, cases),
            *checking.check_sites(cases, self.info.classes),
            *self._check_split(),
        ]
        layout = self.listed.layout
        facts = {
            "layout": {"name": layout.name, "label": layout.label},
            "counts": {
                name: sum(case.label == label for case in cases)
                for label, name in enumerate(self.info.classes)
            },
            **checking.facts(examined, self.listed.present, cases),
        }
        named = (replace(f, message=skipping.below(f.message, self._root)) for f in findings)
        return CheckReport(tuple(named), facts)

    def leave_out_bad(
        self, cache: Path, progress: Progress | None = None, workers: int | None = None
    ) -> None:
        """Leave out the cases that ``check`` finds an error in; see ``skipping.py``."""
        whole = [f for f in self.listed.findings if f.severity == "error" and not f.case]
        if whole:
            raise self._refused(whole)
        bad = {f.case for f in self.listed.findings if f.severity == "error"}
        cases = [case for case in self.listed.cases if case.id not in bad]
        examined = skipping.examine(self._examiner(), cases, self._root, cache, progress, workers)
        unusable = skipping.left_out(self.listed, examined, self._root)
        if unusable.cases or unusable.others:
            self.left_out = unusable
            self.listed = skipping.without(self.listed, unusable)
        kept = {case.id for case in self.listed.cases}
        self._examined = [e for e in examined if e.id in kept]

    def headers_differ(self) -> bool:
        """Say whether files of any case differ in their axes, or have no header that can be read.

        Reads headers only.
        """
        names = (*self.modalities, "seg")
        files = ({n: c.files[n] for n in names if n in c.files} for c in self.listed.cases)
        try:
            return any(grid_faults({n: (p, read_grid(p)) for n, p in f.items()}) for f in files)
        except DatasetError:
            return True

    def remarks(self) -> Sequence[str]:
        """Return what is odd about names and tables, the same of several cases in one line."""
        bad = {*self.left_out.cases, *self.left_out.others} if self.left_out else set()
        cases: dict[str, list[str]] = {}
        for f in self.listed.findings:
            if f.severity == "warning" and f.case not in bad:
                cases.setdefault(skipping.below(f.message, self._root), []).append(f.case)
        lines = [f"{some(ids)}: {text}" if ids[0] else text for text, ids in cases.items()]
        return [*(self.left_out.lines if self.left_out else ()), *lines]

    @property
    def _root(self) -> Path:
        """Return the folder below which all files lie, also where its table was given."""
        return self.folder.parent if self.folder.is_file() else self.folder

    def _examiner(self) -> checking.Examiner:
        layout = self.listed.layout
        return checking.Examiner(
            self.modalities, layout, self.labels, self.procedure, self.size, self.headers
        )

    def _missing(self) -> str:
        """Say, behind a complaint about too few cases, that some were left out."""
        bad = self.left_out
        return f" {len(bad.cases)} of {bad.total} cases were left out by --skip-bad." if bad else ""

    def _check_split(self) -> list[Finding]:
        cases, classes, test = self.listed.cases, self.info.classes, read_rule(self.rule)
        if not cases and any(f.severity == "error" for f in self.listed.findings):
            return []  # what keeps all cases from being used is told already
        try:
            sentence = describe_split(cases, classes, test)
        except DatasetError as e:
            return [Finding("error", "", f"{e}{self._missing()}")]
        labels = range(len(classes))
        totals = [len({c.patient for c in cases if c.label == label}) for label in labels]
        return [Finding("warning", "", sentence)] if falls_short(totals, test) else []

    def __getstate__(self) -> dict[str, Any]:
        """Leave the listing behind: a worker needs the layout and the labels, not all cases."""
        state = dict(self.__dict__)
        state["listed"] = replace(self.listed, cases=(), findings=(), ids=())
        state["_examined"] = None
        return state


def _modalities(value: Any) -> tuple[str, ...]:
    names = value if isinstance(value, list | tuple) else str(value).split(",")
    names = [str(name).strip().lower() for name in names]
    for name in names:
        if name not in MODALITIES:
            raise BadOption(
                f"There is no modality '{name}'. Known: {', '.join(MODALITIES)}, in any order."
            )
    if not names or len(set(names)) != len(names):
        raise BadOption(f"The option modalities is '{value}'; expected each name once.")
    return tuple(names)


def _labels(name: Any, default: Mapping[int, int]) -> Mapping[int, int]:
    if name is None:
        return default
    if not isinstance(name, str) or name not in LABELS:
        raise BadOption(f"The option labels is '{name}'. Known: {', '.join(LABELS)}.")
    return LABELS[name]


def _headers(value: Any) -> str:
    if value not in ("", *HEADERS):
        raise BadOption(
            f"The option headers is '{value}'. Known: image (--same-axes), own (--trust-headers)."
        )
    return value
