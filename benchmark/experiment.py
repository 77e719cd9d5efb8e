"""What to compare: a TOML file, shipped or the user's own, with the command line on top."""

from __future__ import annotations

import dataclasses
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from cerebench.benchmark.config import typed
from cerebench.benchmark.errors import BadConfig, UsageError
from cerebench.benchmark.registry import Registry, suggest

SMALL_PRESETS = ("quick", "smoke")


@dataclass(frozen=True)
class Experiment:
    """One comparison: one dataset at one size, several methods, one preset.

    Attributes:
        name: File name without ending.
        title: One sentence.
        dataset: Dataset name; ``size`` its edge length in voxels, ``split`` its split rule (empty:
            the dataset's default), ``data_root`` its folder, ``data`` its options.
        split_file: A published split to use instead of the rule, ``FILE`` or ``FILE:FOLD``.
        allow_leakage: Score samples of generators that have seen test cases; marks every table.
        methods: Method names, or the words ``all`` (the rows of the MIDL 2024 paper) and ``every``.
        preset: Preset of every method.
        seeds: Training seeds.
        samples_per_class: Volumes generated per class.
        metrics: Names of metrics and suites.
        protocols: Downstream protocols.
        reference: The method that significance tests compare with.
        set: Method name (or ``*``) to setting to value.
        cite: How to cite the experiment.
    """

    name: str
    title: str = ""
    dataset: str = "phantom"
    size: int = 0
    split: dict[str, int] = field(default_factory=dict)
    data_root: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    split_file: str = ""
    allow_leakage: bool = False
    methods: str | list[str] = "all"
    preset: str = "quick"
    seeds: list[int] = field(default_factory=lambda: [0])
    samples_per_class: int = 64
    metrics: list[str] = field(default_factory=list)
    protocols: list[str] = field(default_factory=list)
    reference: str = ""
    set: dict[str, dict[str, Any]] = field(default_factory=dict)
    cite: str = ""

    def __post_init__(self) -> None:
        if self.samples_per_class < 2:
            raise BadConfig(f"samples_per_class must be at least 2, got {self.samples_per_class}.")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds) or min(self.seeds) < 0:
            raise BadConfig(f"seeds must be distinct whole numbers >= 0, got {self.seeds}.")

    def banner(self, *, synthetic: bool) -> str:
        """Return what stands above every table of a small preset or of synthetic data, else ''."""
        small = self.preset in SMALL_PRESETS
        if not (small or synthetic):
            return ""
        kind = self.preset if small else self.dataset
        return f"{kind} run: shows that it works, not which generator is better"


def shipped() -> list[str]:
    """Return the names of the experiments that come with the package."""
    folder = files("cerebench.benchmark") / "experiments"
    return sorted(
        f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml")
    )


def read(name: str) -> Experiment:
    """Read a shipped experiment by name, or a TOML file by path.

    Raises:
        UsageError: If there is none, or it is not TOML.
        BadConfig: If a key is unknown or a value has the wrong type.
    """
    if name in shipped():
        text = (files("cerebench.benchmark") / "experiments" / f"{name}.toml").read_text("utf-8")
        origin = f"{name}.toml"
    else:
        path = Path(name)
        if not path.is_file():
            raise UsageError(f"{suggest('experiment', name, shipped())} Or give a TOML file.")
        text, origin = path.read_text("utf-8"), str(path)
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{origin} is not valid TOML: {error}.") from error
    return from_table(Path(origin).stem, table, origin)


def from_table(name: str, table: Mapping[str, Any], origin: str) -> Experiment:
    """Validate the keys and types of an experiment table."""
    types = {f.name: f.type for f in dataclasses.fields(Experiment) if f.name != "name"}
    hints = typing.get_type_hints(Experiment)
    for key in table:
        if key not in types:
            raise BadConfig(f"{origin}: {suggest('experiment key', key, list(types))}")
    values = {key: typed(f"{origin}: {key}", value, hints[key]) for key, value in table.items()}
    return Experiment(name=name, **values)


def select_methods(asked: str | list[str], methods: Registry) -> list[str]:
    """Expand ``all``, ``every`` and ``none`` in a list of method names, without repeats.

    Raises:
        UnknownPlugin: If a name does not exist.
    """
    words = asked.split(",") if isinstance(asked, str) else list(asked)
    names: list[str] = []
    for word in (w.strip() for w in words):
        if word == "all":
            names += [n for n in methods.names() if methods.facts(n).get("paper_row")]
        elif word == "every":
            names += [n for n in methods.names() if not methods.unavailable(n)]
        elif word and word != "none":
            names.append(word)
    unique = list(dict.fromkeys(names))
    known = methods.names()
    for name in unique:
        if name not in known:
            methods.load(name)  # raises with a suggestion
    return unique
