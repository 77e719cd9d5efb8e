"""What the dataclasses of files and their parts have in common.

A file that does not fit its dataclass is a ``Misfit``, which names file and field. Fields that this
version does not know are ignored, so that a later one may add some under the same ``SCHEMA``; a
higher number says that older versions cannot read the file.

A field without a default must be given where an object is made. ``OLDER`` marks one that version
0.1.0 did not write: it must be given, too, and is None where it is read from such a file. A field
with a default of its own is left out of the file where it has that value.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, ClassVar, Literal, NoReturn

from pydantic import AfterValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from cerebench.core.errors import EXIT_DATA, UserError

SCHEMA = 1
OLDER = Field(default=None)


class Misfit(UserError, ValueError):
    """A file does not fit its schema; the message names file and field.

    Attributes:
        newer: Whether a newer version wrote it, for which it may be in order.
    """

    exit_code = EXIT_DATA

    def __init__(self, place: object, fault: str, *, newer: bool = False) -> None:
        super().__init__(f"{place}: {fault}")
        self.newer = newer


@dataclass(frozen=True, kw_only=True)
class Part:
    """An object in a file."""

    __pydantic_config__ = ConfigDict(strict=True, allow_inf_nan=False, extra="ignore")

    def __getitem__(self, name: object) -> NoReturn:
        """Tell the author of a report written for 0.1.0 what to change."""
        raise TypeError(f"{type(self).__name__} has attributes: write .{name}, not [{name!r}].")


@dataclass(frozen=True, kw_only=True)
class Head(Part):
    """How every file begins.

    Attributes:
        schema: Version of the format.
        kind: What the file is.
        sha256: SHA-256 of the rest of the file as canonical JSON; not there in files that were
            written before it was, whose content nothing vouches for.
    """

    schema: int
    kind: str
    sha256: Annotated[str | None, OLDER]


@dataclass(frozen=True, kw_only=True)
class RecordHead(Head):
    """How every record of a finished stage begins.

    Attributes:
        status: ``ok``; a stage that failed leaves no record but ``failure.json``.
        key: SHA-256 of everything that defines the result, 64 hexadecimal digits.
        utc: When the stage was done, ISO 8601.
    """

    status: Literal["ok"]
    key: str
    utc: str


@dataclass(frozen=True, kw_only=True)
class File(Part):
    """A whole file, but for its head."""

    kind: ClassVar[str]
    head: ClassVar[type[Head]] = Head

    def misplaced(self, path: Path) -> str:
        """Say why it is not the file that belongs to this path; empty where it is."""
        return ""


@dataclass(frozen=True, kw_only=True)
class Record(File):
    """What a finished stage leaves. Its kind is the first word of the stage's name."""

    head: ClassVar[type[Head]] = RecordHead
    kinds: ClassVar[dict[str, type[Record]]] = {}

    def __init_subclass__(cls) -> None:
        Record.kinds[cls.kind] = cls


def shown(value: object) -> str:
    """Return a value as a message quotes it: short, in one line."""
    if isinstance(value, Mapping | list | tuple):
        return "an object" if isinstance(value, Mapping) else f"a list of {len(value)}"
    text = repr(value) if isinstance(value, str) else json.dumps(value, default=repr)
    return text if len(text) <= 40 else f"{text[:39]}…"


def _finite(value: Any) -> Any:
    """Refuse numbers that JSON does not have, wherever they stand."""
    if isinstance(value, float) and not math.isfinite(value):
        raise PydanticCustomError("form", "must hold finite numbers alone")
    if isinstance(value, Mapping | list | tuple):
        for part in value.values() if isinstance(value, Mapping) else value:
            _finite(part)
    return value


def _facts(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Refuse facts that are neither numbers nor texts, nor null for one that was not finite."""
    for name, fact in value.items():
        if isinstance(fact, bool) or not isinstance(fact, int | float | str | None):
            context = {"name": name, "got": shown(fact)}
            raise PydanticCustomError(
                "form", "must be numbers or texts, got {got} as {name}", context
            )
    return _finite(value)


def _inside(value: str) -> str:
    """Refuse a path that leads out of the folder it is relative to, or that no file has."""
    parts = PurePosixPath(value).parts
    if ".." in parts or value.startswith("/") or not value.isprintable():
        context = {"got": shown(value)}
        raise PydanticCustomError("form", "must be a path inside its folder, got {got}", context)
    return value


Class = Annotated[str, Field(alias="class")]
Place = Annotated[str, AfterValidator(_inside)]
Count = Annotated[int, Field(ge=0)]
Amount = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Utc = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")]
Json = Annotated[Any, AfterValidator(_finite)]
Settings = Annotated[Mapping[str, Any], AfterValidator(_finite)]
Facts = Annotated[Mapping[str, Any], AfterValidator(_facts)]
