"""Which data a command works on, and what was left out of them."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cerebench.benchmark.display import Display, Silent
from cerebench.benchmark.engine.registry import Registries
from cerebench.benchmark.names import check_dataset
from cerebench.core.errors import UsageError
from cerebench.core.texts import counted, toml_value
from cerebench.datasets import cache as caching
from cerebench.datasets.base import Dataset, DatasetError, Split
from cerebench.datasets.splits import read_split

SPLIT_SEED = 0  # the split belongs to the data, not to a training seed


@dataclass(frozen=True)
class Source:
    """Which data a command works on.

    Attributes:
        name: Dataset name.
        root: Folder of the files, or None for a dataset without.
        size: Edge length of the volumes, voxels.
        options: ``--data`` options.
        rule: Split rule, or None for the dataset's own.
        split_file: Published split, ``FILE`` or ``FILE:FOLD``; empty for the rule.
        skip_bad: Whether cases that cannot be used are left out.
    """

    name: str
    root: Path | None
    size: int
    options: Mapping[str, Any] = field(default_factory=dict)
    rule: Mapping[str, int] | None = None
    split_file: str = ""
    skip_bad: bool = False

    def open(
        self,
        registries: Registries,
        display: Display | None = None,
        cache: Path | None = None,
    ) -> Dataset:
        """Construct the dataset, without the bad cases where these are to be skipped.

        Args:
            registries: Where plugins are found.
            display: Where the search for bad cases tells how far it is.
            cache: Folder that remembers what was found in them; None for the usual one.

        Raises:
            DatasetError: If the files, the size, an option or a class label cannot be used.
            BrokenPlugin: If a name that becomes part of paths is none.
        """
        # A dataset that takes no options need not know that there are any.
        more = {"options": dict(self.options)} if self.options else {}
        cls = registries.datasets.load(self.name)
        dataset = cls(size=self.size, root=self.root, rule=self.rule or None, **more)
        check_dataset(self.name, dataset)
        if self.skip_bad:
            began, title = time.perf_counter(), f"{dataset.info.label} · look for bad cases"
            shown = display or Silent()
            with shown.task(title) as task:
                dataset.leave_out_bad(cache or caching.default_cache(), task.update)
            shown.ended(title, "done", time.perf_counter() - began)
        return dataset

    def split(self, dataset: Dataset) -> Split:
        """Return the published split, or the dataset's own.

        Raises:
            DatasetError: If the file does not fit the data, or two cases have one id.
        """
        _refuse_same_ids(self.name, dataset)
        if not self.split_file:
            return dataset.split(SPLIT_SEED)
        name, fold = self.split_file, None
        path, colon, number = name.rpartition(":")
        if colon and number.isdigit():
            name, fold = path, int(number)
        bad = dataset.left_out.cases if dataset.left_out else ()
        return read_split(Path(os.path.expanduser(name)), dataset.cases(), fold, bad)


def _refuse_same_ids(name: str, dataset: Dataset) -> None:
    """Refuse data in which an id stands for two cases, one of which would be lost."""
    counts = Counter(case.id for case in dataset.cases())
    if several := [case for case, count in counts.items() if count > 1]:
        raise DatasetError(
            f"dataset '{name}' has {counted(len(several), 'id')} for several cases each: "
            f"{', '.join(several[:5])}. Give every case an id of its own."
        )


def parse_options(texts: Sequence[str]) -> dict[str, Any]:
    """Turn ``NAME=VALUE`` texts into options; a value is TOML, else a plain text.

    Raises:
        UsageError: If a text has another form.

    Example:
        >>> parse_options(["modalities=t1,flair", "percentile=99.5"])
        {'modalities': 't1,flair', 'percentile': 99.5}
    """
    options: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name.strip() and equals):
            raise UsageError(
                f"--data expects NAME=VALUE, got '{text}'. Example: --data modalities=t1,flair."
            )
        options[name.strip()] = toml_value(value)
    return options


def left_out(dataset: Dataset) -> dict[str, Any]:
    """Return what ``--skip-bad`` left out as JSON; nothing where it left out nothing."""
    return {"left_out": asdict(dataset.left_out)} if dataset.left_out else {}


def tell(dataset: Dataset, display: Display) -> None:
    """Say what a user must know of the data before anything is made of them."""
    for line in dataset.remarks():
        display.say(line)
