"""Reading and writing of files that have a schema."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from cerebench.core.hashing import seal_of
from cerebench.core.records.base import SCHEMA, File, Head, Misfit, Part, Record, RecordHead, shown

Whole = TypeVar("Whole", bound=File)
CHANGED = "its content is not what its sha256 says, so it was changed after it was written"


def parse(kind: type[Whole], data: bytes, place: object) -> tuple[Head, Whole]:
    """Read the bytes of a file.

    Args:
        kind: What it should be.
        data: Its content.
        place: Where it lies, for the message.

    Raises:
        Misfit: If it is something else, or no longer what was written.
    """
    try:
        head = _validated(Head, data)
        if head.schema > SCHEMA and not _holds(head, data, schema=SCHEMA):
            fault = f"schema is {head.schema}, of a newer version; this one reads {SCHEMA}"
            raise Misfit(place, f"{fault}. Update Cerebench", newer=True)
        if head.schema != SCHEMA:
            raise Misfit(place, f"schema must be {SCHEMA}, got {head.schema}")
        if head.kind != kind.kind:
            raise Misfit(place, f"kind must be '{kind.kind}', got {shown(head.kind)}")
        found = _validated(kind.head, data), _validated(kind, data)
    except ValidationError as error:
        raise Misfit(place, _fault(error.errors(include_url=False)[0])) from None
    if head.sha256 is not None and not _holds(head, data):
        raise Misfit(place, CHANGED)
    return found


def _holds(head: Head, data: bytes, **instead: Any) -> bool:
    """Say whether a file has the content that it was written with, but for these fields."""
    try:
        return seal_of({**json.loads(data), **instead}) == head.sha256
    except (ValueError, RecursionError):  # of numbers that canonical JSON does not have
        return False


def read(kind: type[Whole], path: Path, place: object = None) -> tuple[Head, Whole] | None:
    """Read a file; None where there is none.

    Args:
        kind: What it should be.
        path: Where it lies.
        place: What messages call it; the path if not given.

    Raises:
        Misfit: If it is something else.
        OSError: If it cannot be read.
    """
    place = place or path
    if path.is_file():
        head, whole = parse(kind, path.read_bytes(), place)
        _, at, named = path.stem.rpartition("@")
        if at and isinstance(head, RecordHead) and not head.key.startswith(named):
            got = shown(head.key[:8])
            raise Misfit(place, f"key must begin with {named} as the name says, got {got}")
        if fault := whole.misplaced(path):
            raise Misfit(place, fault)
        return head, whole
    if path.exists():  # a pipe would be waited for
        raise Misfit(
            place, "it is a folder: move it elsewhere" if path.is_dir() else "it is no file"
        )
    return None


def dump(whole: File, *, key: str = "", utc: str = "") -> dict[str, Any]:
    """Return a file as JSON holds it; ``key`` and ``utc`` are those of a record."""
    record = {"status": "ok", "key": key, "utc": utc} if isinstance(whole, Record) else {}
    return {"schema": SCHEMA, "kind": whole.kind, **record, **as_json(whole)}


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a file as JSON holds it with the hash of itself, by which ``parse`` knows damage."""
    told = json.loads(json.dumps({**content, "sha256": None}))
    head = {name: told.pop(name) for name in ("schema", "kind", "sha256")}
    return {**head, "sha256": seal_of({**head, **told}), **told}


def as_json(value: Any) -> Any:
    """Return a part of a file as JSON holds it."""
    if isinstance(value, Part):
        return {
            field.name.rstrip("_"): as_json(part_value)
            for field in dataclasses.fields(value)
            if (part_value := getattr(value, field.name)) != field.default
        }
    if isinstance(value, Mapping):
        return {name: as_json(part) for name, part in value.items()}
    return [as_json(part) for part in value] if isinstance(value, list | tuple) else value


@cache
def _adapter(kind: type[Part]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _validated(kind: type[Part], data: bytes) -> Any:
    try:
        return _adapter(kind).validate_json(data)
    except ValidationError as error:
        if error.errors()[0]["type"] != "json_invalid":
            raise
        try:  # the name of a file that is no UTF-8 stands there as lone surrogates
            text = json.dumps(json.loads(data), ensure_ascii=False)
        except (ValueError, RecursionError):
            raise error from None
        return _adapter(kind).validate_json(text.encode("utf-8", "replace"))


# What pydantic calls a fault -> what was expected; of others its own words stand.
_EXPECTED = {
    "string_type": "a text",
    "string_pattern_mismatch": "a text of the form {pattern}",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "tuple_type": "a list",
    "dict_type": "an object",
    "mapping_type": "an object",
    "dataclass_type": "an object",
    "literal_error": "{expected}",
    "greater_than_equal": "at least {ge:g}",
    "less_than_equal": "at most {le:g}",
    "greater_than": "more than {gt:g}",
    "too_short": "{min_length} or more",
}


def _fault(error: ErrorDetails) -> str:
    """Say which field is not what it should be."""
    context, kind = error.get("ctx", {}), error["type"]
    field = ".".join(str(part) for part in error["loc"] if not str(part).startswith("<"))
    if kind == "json_invalid":
        return f"it cannot be read as JSON: {context['error']}"
    if kind == "missing":
        return f"{field} is missing"
    if kind == "value_error":  # of a whole object, whose message begins with the field
        return f"{field}.{context['error']}".removeprefix(".")
    if kind == "form":
        return f"{field} {error['msg']}"
    field = field or "it"
    if kind not in _EXPECTED:
        return f"{field}: {error['msg']}"
    return f"{field} must be {_EXPECTED[kind].format(**context)}, got {shown(error['input'])}"
