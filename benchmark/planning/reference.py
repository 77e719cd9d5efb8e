"""The real volumes that rows are compared with: a data set with its split, or a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from cerebench.benchmark.planning.leakage import refuse_leakage
from cerebench.benchmark.planning.source import left_out
from cerebench.core.files import write_where_different
from cerebench.core.hashing import key_of
from cerebench.core.records.base import Misfit
from cerebench.datasets.base import Case, Dataset, Split
from cerebench.datasets.folders.folder import Folder, Shape, spacing_of
from cerebench.datasets.folders.pseudonyms import salt_of
from cerebench.datasets.splits import split_sha256, write_split

if TYPE_CHECKING:
    from cerebench.benchmark.engine.workbench import Workbench
    from cerebench.benchmark.planning.plan import Plan
    from cerebench.benchmark.stages.scoring import RealSets
    from cerebench.benchmark.stages.structures import Volumes as Structures


class Reference(Protocol):
    """What a plan compares its rows with.

    Attributes:
        key: Identifies the real sets; part of every key of a score.
        classes: Class names in label order.
        channels: Names of the channels.
        spacing: Voxel edge lengths (D, H, W), mm.
        size: Longest edge of a volume, voxels.
        slug: How its folder of results begins.
    """

    @cached_property
    def key(self) -> str: ...
    @property
    def classes(self) -> Sequence[str]: ...
    @property
    def channels(self) -> Sequence[str]: ...
    @property
    def spacing(self) -> tuple[float, float, float]: ...
    @property
    def size(self) -> int: ...

    def check(self, plan: Plan) -> None:
        """Refuse a plan that must not run on these data."""
        ...

    def publish(self, folder: Path) -> str:
        """Write what belongs beside the results; say what was damaged."""
        ...

    def open(self, bench: Workbench) -> RealSets:
        """Return the real sets, by class."""
        ...

    def entry(self) -> dict[str, Any]:
        """Return what reports are told about the data (docs/results.md)."""
        ...

    def left_out(self) -> dict[str, Any]:
        """Return what was left out of the data as JSON; empty where nothing was."""
        ...

    def facts(self) -> dict[str, Any]:
        """Return what ``cell.json`` tells about the data."""
        ...


@dataclass(frozen=True)
class DatasetReference:
    """The training and test cases of a data set.

    Attributes:
        dataset: The data set at one size.
        cases: Its cases.
        split: Which of them train and which test.
        fingerprint: Identifies contents and recipe.
        published: Whether the split was given as a file.
    """

    dataset: Dataset
    cases: Sequence[Case]
    split: Split
    fingerprint: str
    published: bool = False

    @cached_property
    def key(self) -> str:
        """Identify the training and the test set."""
        parts = {"train": self.split.train, "test": self.split.test}
        return key_of({"fingerprint": self.fingerprint, **parts})

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in label order."""
        return self.dataset.info.classes

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels."""
        return self.dataset.info.channels

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel edge lengths (D, H, W), mm."""
        return self.dataset.spacing

    @property
    def size(self) -> int:
        """Edge length of the volumes, voxels."""
        return self.dataset.size

    @property
    def folder_name(self) -> str:
        """Name of the folder of all results on these data."""
        return f"{self.dataset.info.name}-{self.size}-{self.fingerprint[:8]}"

    @property
    def split_file(self) -> str:
        """Name of the file in that folder that publishes the split."""
        return f"split-{split_sha256(self.split, self.cases)[:8]}.csv"

    @cached_property
    def development(self) -> dict[str, int]:
        """Number of real training cases by class."""
        return {name: len(self.train_ids(name)) for name in self.classes}

    def train_ids(self, name: str | None) -> list[str]:
        """Return the ids of the training cases of a class, or of all (None), in their order."""
        return self._ids(self.split.train, name)

    def test_ids(self, name: str | None) -> list[str]:
        """Return the ids of the test cases of a class, or of all (None), in their order."""
        return self._ids(self.split.test, name)

    def _ids(self, part: Sequence[str], name: str | None) -> list[str]:
        chosen, classes = set(part), self.classes
        return [c.id for c in self.cases if c.id in chosen and name in (None, classes[c.label])]

    def training_cases(self) -> tuple[tuple[str, str, str], ...]:
        """Return (case, patient, class) of every training case; they travel with samples."""
        chosen = set(self.split.train)
        return tuple((c.id, c.patient, self.classes[c.label]) for c in self.cases if c.id in chosen)

    @cached_property
    def salt(self) -> bytes | None:
        """Return the salt of the names that travel with samples; None of names of nobody."""
        return None if self.dataset.info.synthetic else salt_of(self.fingerprint)

    def check(self, plan: Plan) -> None:
        """Refuse generators that have seen a test case.

        Raises:
            DatasetError: If a case or a patient is on both sides.
        """
        refuse_leakage(self, plan.folder, plan.rows)

    def publish(self, folder: Path) -> str:
        """Write the split; say whether it was damaged."""
        path = folder / self.split_file
        if path.is_dir():
            raise Misfit(path, "it is a folder where a file belongs. Move it elsewhere")
        was_there = path.exists()
        written = write_where_different(path, write_split(self.split, self.cases))
        return f"{path}: it was not the split that its name tells" if written and was_there else ""

    def open(self, bench: Workbench) -> RealSets:
        """Prepare the cases and return the real sets."""
        from cerebench.benchmark.stages.scoring import FreshCases, RealSets

        return RealSets.of(
            bench.prepared,
            self.split,
            self.classes,
            self.spacing,
            bench.features,
            patients={case.id: case.patient for case in self.cases},
            sites={case.id: case.site for case in self.cases if case.site},
            fresh=FreshCases(self.dataset, bench.cache, bench.features),
        )

    def entry(self) -> dict[str, Any]:
        """Return what reports are told about the data."""
        dataset, info, recipe = self.dataset, self.dataset.info, self.dataset.recipe
        return {
            "name": info.name,
            "label": info.label,
            "size": dataset.size,
            "fingerprint": self.fingerprint,
            "classes": list(info.classes),
            "channels": list(info.channels),
            "spacing": list(dataset.spacing),
            "synthetic": info.synthetic,
            "source": info.source,
            "licence": info.licence,
            "recipe": {**recipe.facts, "id": dataset.recipe_id, "sha256": recipe.sha256},
            "split": {
                "sha256": split_sha256(self.split, self.cases),
                "file": self.split_file,
                "published": self.published,
            },
            "counts": {
                name: {"train": len(self.train_ids(name)), "test": len(self.test_ids(name))}
                for name in info.classes
            },
            **self.left_out(),
        }

    def left_out(self) -> dict[str, Any]:
        """Return what ``--skip-bad`` left out; nothing where it left out nothing."""
        return left_out(self.dataset)

    def facts(self) -> dict[str, Any]:
        """Return what ``cell.json`` tells about the data."""
        split = {"train": list(self.split.train), "test": list(self.split.test)}
        return {"fingerprint": self.fingerprint, "split": split}


@dataclass(frozen=True)
class FolderReference:
    """A folder of real volumes; with it, perhaps, the folder that generators were trained on.

    Attributes:
        real: The checked folder.
        train: What generators were trained on, or None where that is not known.
        shape: Shape (D, H, W) of every volume that is read.
        resampled: Whether volumes are resampled to it.
        structures: Class to structure to its volume in each real volume; empty where not known.
    """

    real: Folder
    train: Folder | None
    shape: Shape
    resampled: bool = False
    structures: Mapping[str, Structures] = field(default_factory=dict)

    @cached_property
    def key(self) -> str:
        """Identify the contents of the folders."""
        seen = content_key(self.train, self.shape) if self.train else None
        return key_of({"real": self.fingerprint, "train": seen, **told_apart(self.structures)})

    @cached_property
    def fingerprint(self) -> str:
        """Identify the contents of the real folder."""
        return content_key(self.real, self.shape)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names."""
        return tuple(self.real.classes)

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels."""
        return ("one channel",)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Most common voxel edge lengths (D, H, W), mm."""
        return spacing_of(self.real, self.shape)

    @property
    def size(self) -> int:
        """Longest edge of a volume, voxels."""
        return max(self.shape)

    @property
    def folder_name(self) -> str:
        """Name of the folder of all results on these data."""
        return f"{slug(self.real.path)}-{self.size}-{self.key[:8]}"

    def check(self, plan: Plan) -> None:
        """Nothing is refused."""

    def publish(self, folder: Path) -> str:
        """Nothing is written beside the results."""
        return ""

    def open(self, bench: Workbench) -> RealSets:
        """Copy the real volumes to temporary files, so that each NIfTI file is unpacked once."""
        from cerebench.benchmark.stages.scoring import RealSets, joined, materialise
        from cerebench.metrics.base import VolumeSet

        def sets(folder: Folder, measured: Mapping[str, Structures]) -> dict[str, VolumeSet]:
            found = {name: folder.volumes(name, self.shape) for name in folder.classes}
            return {
                n: VolumeSet(materialise(v), v.ids, bench.features, structures=measured.get(n))
                for n, v in found.items()
            }

        train = sets(self.real, self.structures)
        return RealSets(
            train=train,
            test={name: VolumeSet([], [], bench.features) for name in train},
            pooled=joined(train.values(), bench.features),
            spacing=self.spacing,
            features=bench.features,
            seen=sets(self.train, {}) if self.train else {},
        )

    def entry(self) -> dict[str, Any]:
        """Return what reports are told about the data."""
        low, high = self.real.options.value_range
        settings = {
            "range": f"[{low:g}, {high:g}] to [-1, 1]",
            "shape": list(self.shape),
            "resampled": self.resampled,
        }
        return {
            "name": slug(self.real.path),
            "label": f"real folder {self.real.path.name}",
            "size": self.size,
            "shape": list(self.shape),
            "fingerprint": self.fingerprint,
            "classes": list(self.classes),
            "channels": list(self.channels),
            "spacing": list(self.spacing),
            "synthetic": False,
            "source": "a folder of volumes",
            "licence": "not known",
            "recipe": {"name": "as stored", "version": 1, "settings": settings},
            "counts": {
                name: {"train": len(files), "test": 0} for name, files in self.real.classes.items()
            },
        }

    def left_out(self) -> dict[str, Any]:
        """Return which real files ``--skip-bad`` left out; nothing where it left out none."""
        reasons = {fault.path.as_posix(): [fault.reason] for fault in self.real.faults}
        bad = {"cases": {}, "others": reasons, "total": self.real.total}
        return {"left_out": bad} if reasons else {}

    def facts(self) -> dict[str, Any]:
        """Return what ``cell.json`` tells about the data."""
        return {"fingerprint": self.fingerprint, "split": {"train": [], "test": []}}


def content_key(folder: Folder, shape: Shape) -> str:
    """Return the SHA-256 of contents, range and shape; independent of where the folder lies."""
    files = {name: {e.id: e.sha256 for e in group} for name, group in folder.classes.items()}
    given = list(folder.options.value_range)
    return key_of({"files": files, "range": given, "shape": list(shape), **folder.turned})


def told_apart(measured: Mapping[str, Structures]) -> dict[str, Any]:
    """Return what volumes of structures add to a key: nothing where there are none."""
    listed = {c: {n: v.tolist() for n, v in of_class.items()} for c, of_class in measured.items()}
    return {"structures": listed} if measured else {}


def slug(path: Path) -> str:
    """Return the folder's own name as part of a file name."""
    kept = "".join(c if c.isascii() and c.isalnum() else "-" for c in path.absolute().name)
    return kept.strip("-").lower()[:64] or "volumes"
