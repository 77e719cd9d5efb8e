"""What to compare: a TOML file, shipped or the user's own, with the command line on top."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from cerebench.benchmark.engine.registry import Registry, suggest
from cerebench.benchmark.errors import UnknownPlugin
from cerebench.benchmark.names import check_name
from cerebench.core.bounds import BadConfig, typed
from cerebench.core.errors import UsageError
from cerebench.core.settings import SHOWN_TO_WORK
from cerebench.core.texts import toml_table, visible

MOST_SAMPLES = 100_000  # per class: their file names count with five digits
MOST_SEED = 2**32 - 1  # what every generator of random numbers takes


@dataclass(frozen=True)
class Variant:
    """A method under another name, from another preset or with some settings changed.

    Attributes:
        method: The method.
        label: What tables call it.
        set: Setting to value.
        preset: Its preset; empty: that of the experiment.
    """

    method: str
    label: str
    set: dict[str, Any] = field(default_factory=dict)
    preset: str = ""


@dataclass(frozen=True)
class Published:
    """A table that a paper printed, as it printed it; never ranked with values of our own."""

    table: str
    title: str
    columns: list[str]
    rows: list[list[str]]
    note: str = ""


@dataclass(frozen=True)
class Experiment:
    """One comparison: one dataset at one size, several methods, one preset.

    Attributes:
        name: File name without ending.
        title: One sentence.
        dataset: Dataset name; ``size`` its edge length in voxels, ``split`` its split rule (empty:
            the dataset's default), ``data_root`` its folder, ``data`` its options.
        split_file: A published split to use instead of the rule, ``FILE`` or ``FILE:FOLD``.
        skip_bad: Leave out cases that cannot be used; every table says so.
        allow_leakage: Score samples of generators that have seen test cases; marks every table.
        methods: Names of methods and of ``variants``, or the words ``all`` (the rows of the MIDL
            2024 paper), ``every`` and ``none``.
        variants: Name to a method with a preset or settings of its own.
        preset: Preset of every method, but of variants that name another.
        seeds: Training seeds.
        samples_per_class: Volumes generated per class.
        metrics: Names of metrics and suites.
        protocols: Names of downstream protocols, or the words ``all`` and ``none``.
        protocol_preset: Preset of every protocol; empty: the same as of the methods.
        reference: The method that significance tests compare with; controls that need samples
            take its samples.
        set: Name of a method, variant or protocol (or ``*``) to setting to value.
        cite: How to cite the experiment.
        published: Tables that were printed in the literature.
    """

    name: str
    title: str = ""
    dataset: str = "phantom"
    size: int = 0
    split: dict[str, int] = field(default_factory=dict)
    data_root: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    split_file: str = ""
    skip_bad: bool = False
    allow_leakage: bool = False
    methods: str | list[str] = "all"
    variants: dict[str, Variant] = field(default_factory=dict)
    preset: str = "quick"
    seeds: list[int] = field(default_factory=lambda: [0])
    samples_per_class: int = 64
    metrics: list[str] = field(default_factory=list)
    protocols: list[str] = field(default_factory=list)
    protocol_preset: str = ""
    reference: str = ""
    set: dict[str, dict[str, Any]] = field(default_factory=dict)
    cite: str = ""
    published: list[Published] = field(default_factory=list)

    def __post_init__(self) -> None:
        n = self.samples_per_class
        if not 2 <= n <= MOST_SAMPLES:
            limit = "at least 2" if n < 2 else f"at most {MOST_SAMPLES}"
            raise BadConfig(f"samples_per_class (-n) must be {limit}, got {n}.")
        distinct = self.seeds and len(set(self.seeds)) == len(self.seeds)
        if not distinct or min(self.seeds) < 0 or max(self.seeds) > MOST_SEED:
            raise BadConfig(
                f"seeds must be distinct whole numbers from 0 to {MOST_SEED}, got {self.seeds}."
            )

    def banner(self, *, synthetic: bool, presets: Iterable[str] = ()) -> str:
        """Return what stands above every table of a small preset or of synthetic data, else ''.

        Args:
            synthetic: Whether a procedure made the volumes.
            presets: Those of the rows, where variants have their own.
        """
        small = next((p for p in (self.preset, *presets) if p in SHOWN_TO_WORK), "")
        if not (small or synthetic):
            return ""
        return f"{small or self.dataset} run: shows that it works, not which generator is better"


def shipped() -> list[str]:
    """Return the names of the experiments that come with the package."""
    folder = files("cerebench.benchmark") / "experiments"
    return sorted(
        f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml")
    )


def read(name: str) -> Experiment:
    """Read a shipped experiment by name, or a TOML file by path.

    Raises:
        UsageError: If there is none, it is not TOML, or it has a name that could not be part of a
            path.
        BadConfig: If a key is unknown or a value has the wrong type.
    """
    if name in shipped():
        data = (files("cerebench.benchmark") / "experiments" / f"{name}.toml").read_bytes()
        origin = f"{name}.toml"
    else:
        path = Path(name)
        if not path.is_file():
            raise UsageError(f"{suggest('experiment', name, shipped())} Or give a TOML file.")
        data, origin = path.read_bytes(), str(path)
    try:
        table = toml_table(data)
    except ValueError as error:
        raise UsageError(f"{origin} is not valid TOML: {error}.") from error
    return from_table(Path(origin).stem, table, origin)


def from_table(name: str, table: Mapping[str, Any], origin: str) -> Experiment:
    """Validate the names, keys and types of an experiment table."""
    check_name(f"The experiment {origin}", name, "Rename the file; NAME.toml names the reports.")
    for key in _tables(table, "variants", dict, origin):
        check_name(f"{origin}: a variant", key, "Rename it: [variants.NAME].")
    nested = {
        "variants": {
            key: _read(Variant, value, f"{origin}: variants.{key}")
            for key, value in _tables(table, "variants", dict, origin).items()
        },
        "published": [
            _read(Published, value, f"{origin}: published[{index}]")
            for index, value in enumerate(_tables(table, "published", list, origin))
        ],
    }
    plain = {key: value for key, value in table.items() if key not in nested}
    return _read(Experiment, plain, origin, name=name, **nested)


def _tables(table: Mapping[str, Any], key: str, kind: type, origin: str) -> Any:
    """Return a table of tables, or a list of tables; empty where there is none."""
    found = table.get(key, kind())
    inner = found.values() if isinstance(found, dict) else found
    if not isinstance(found, kind) or not all(isinstance(value, dict) for value in inner):
        form = f"[{key}.NAME]" if kind is dict else f"[[{key}]]"
        raise BadConfig(f"{origin}: {key} must be written as tables, {form}.")
    return found


def _read(cls: type, table: Mapping[str, Any], origin: str, **given: Any) -> Any:
    """Construct a dataclass from a table whose keys and types are checked."""
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls) if f.name not in given}
    for key in table:
        if key not in fields:
            kind = f"{cls.__name__.lower()} key"
            raise BadConfig(f"{origin}: {suggest(kind, key, list(fields))}")
    values = {key: typed(f"{origin}: {key}", value, hints[key]) for key, value in table.items()}
    for key, value in values.items():
        _refuse_control_characters(f"{origin}: {key}", value)
    for name, declared in fields.items():
        plain = (declared.default, declared.default_factory)
        if name not in table and plain == (dataclasses.MISSING,) * 2:
            raise BadConfig(f"{origin}: {name} is missing.")
    return cls(**given, **values)


def _refuse_control_characters(where: str, value: Any) -> None:
    """Refuse texts that a terminal or a table would not show as they are."""
    if isinstance(value, str) and visible(value) != value:
        raise BadConfig(f"{where} holds control characters: {visible(value)!r}. Write plain text.")
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for part in parts:
        _refuse_control_characters(where, part)


def select_methods(
    asked: str | list[str], methods: Registry, variants: Iterable[str] = ()
) -> list[str]:
    """Expand ``all``, ``every`` and ``none`` in a list of method names, without repeats.

    Args:
        asked: Names, as a list or with commas.
        methods: The registry of methods.
        variants: Names that the experiment itself gives to methods.

    Raises:
        UnknownPlugin: If a name does not exist.
    """
    names: list[str] = []
    for word in _words(asked):
        if word == "all":
            names += [n for n in methods.names() if methods.facts(n).get("paper_row")]
        elif word == "every":
            names += [n for n in methods.names() if not methods.unavailable(n)]
        else:
            names.append(word)
    known = [*methods.names(), *variants]
    return _known(names, known, methods.kind)


def select_protocols(asked: list[str], protocols: Registry) -> list[str]:
    """Expand ``all`` (all installed) and ``none`` in a list of protocol names, without repeats.

    Raises:
        UnknownPlugin: If a name does not exist.
    """
    installed = protocols.names()
    usable = [n for n in installed if not protocols.unavailable(n)] if "all" in asked else []
    names = [n for word in _words(asked) for n in (usable if word == "all" else [word])]
    return _known(names, installed, protocols.kind)


def _words(asked: str | list[str]) -> list[str]:
    words = asked.split(",") if isinstance(asked, str) else asked
    return [word.strip() for word in words if word.strip() not in ("", "none")]


def _known(names: list[str], known: list[str], kind: str) -> list[str]:
    """Refuse unknown names and drop repeats."""
    for name in names:
        if name not in known:
            raise UnknownPlugin(suggest(kind, name, known))
    return list(dict.fromkeys(names))
