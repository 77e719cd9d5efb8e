"""What a setting accepts: types with bounds, their check, and what they say in words.

The types are annotations that pydantic enforces; any other of its kind serves as well:
``Annotated[int, Field(ge=8, multiple_of=8)]``, ``Literal["volume", "voxel"]``. No number accepts
NaN or infinity.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.errors import PydanticInvalidForJsonSchema

from cerebench.core.errors import UsageError

Count = Annotated[int, Field(ge=1)]
CountOrZero = Annotated[int, Field(ge=0)]  # the setting's meaning says what 0 does
Positive = Annotated[float, Field(gt=0)]  # step sizes, limits of gradients
NonNegative = Annotated[float, Field(ge=0)]  # weights of terms, which 0 leaves out
Fraction = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]  # of moving averages; at 1 nothing would move
Precision = Literal["fp32", "bf16"]

_STRICTER = ConfigDict(allow_inf_nan=False, arbitrary_types_allowed=True)
_NAMES = {  # type of JSON schema -> one, many
    "integer": ("a whole number", "whole numbers"),
    "number": ("a number", "numbers"),
    "boolean": ("true or false", "true or false"),
    "string": ("a text", "texts"),
    "object": ("a table", "tables"),
    "null": ("nothing", "nothing"),
}
_LIMITS = {
    "minimum": "at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
}


class BadConfig(UsageError):
    """A setting has an impossible value, or a preset hides where a value comes from."""


def typed(name: str, value: Any, accepts: Any, *, where: str = "") -> Any:
    """Return a value as its annotation has it: an array becomes a tuple, 1 becomes 1.0 for a float.

    No text becomes a number, and no number true or false, nor the other way round.

    Args:
        name: What has the value, for the message.
        value: A plain value, for example of a TOML or JSON file.
        accepts: An annotation, with bounds where it has any.
        where: End of the message that tells where the value stands, for example `` in a.json``.

    Raises:
        BadConfig: If the annotation does not accept the value.

    Example:
        >>> typed("widths", [8, 4], tuple[Count, ...])
        (8, 4)
    """
    fault = BadConfig(f"{name} must be {in_words(accepts)}, got {value!r}{where}.")
    try:
        validated = TypeAdapter(accepts, config=_STRICTER).validate_python(value)
    except ValidationError:
        raise fault from None
    if not _same_kind(value, validated):
        raise fault
    return validated


def in_words(accepts: Any) -> str:
    """Say what an annotation accepts.

    Example:
        >>> in_words(Count), in_words(Precision), in_words(tuple[Fraction, ...])
        ('a whole number of at least 1', 'fp32 or bf16', 'a list of numbers from 0 to 1')
    """
    try:
        return _words(schema(accepts))
    except PydanticInvalidForJsonSchema:
        return f"of type {getattr(accepts, '__name__', accepts)}"


def says_bounds(accepts: Any) -> bool:
    """Say whether every number of an annotation has a lower bound, or is one of a few choices.

    Example:
        >>> says_bounds(Count), says_bounds(str), says_bounds(int), says_bounds(tuple[int, ...])
        (True, True, False, False)
    """
    try:
        return all(map(_bounded, _numbers(schema(accepts))))
    except PydanticInvalidForJsonSchema:
        return True  # no number


def schema(accepts: Any) -> dict[str, Any]:
    """Return the JSON schema of an annotation.

    Example:
        >>> schema(Positive)
        {'exclusiveMinimum': 0, 'type': 'number'}
    """
    return TypeAdapter(accepts, config=_STRICTER).json_schema()


def _same_kind(given: Any, made: Any) -> bool:
    """Say whether pydantic kept what is a text, a truth value or a list one."""
    if isinstance(made, list | tuple):
        return isinstance(given, list | tuple) and all(map(_same_kind, given, made))
    if isinstance(made, Mapping):
        return all(_same_kind(given[key], value) for key, value in made.items())
    return all(isinstance(given, kind) == isinstance(made, kind) for kind in (bool, str))


def _numbers(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Return the schema of every number in a schema, also of those in lists."""
    parts = [*schema.get("anyOf", ()), *schema.get("prefixItems", ())]
    parts += [schema["items"]] if schema.get("items") else []
    if schema.get("type") in ("integer", "number"):
        yield schema
    for part in parts:
        yield from _numbers(part)


def _bounded(number: Mapping[str, Any]) -> bool:
    return any(key in number for key in ("minimum", "exclusiveMinimum", "enum", "const"))


def _words(schema: Mapping[str, Any], *, many: bool = False) -> str:
    """Say in words what a JSON schema admits."""
    if "enum" in schema or "const" in schema:
        return _either(schema.get("enum") or [schema["const"]])
    if "anyOf" in schema:
        return _either([_words(part, many=many) for part in schema["anyOf"]])
    kind = schema.get("type", "")
    if kind == "object" and (inside := schema.get("additionalProperties")):
        held = f" of {_words(inside, many=True)}" if isinstance(inside, Mapping) and inside else ""
        return f"{'tables' if many else 'a table'}{held}"
    if kind == "array":
        return f"{'lists' if many else 'a list'} of {_items(schema)}"
    noun = _NAMES.get(kind, ("any value", "values"))[many]
    return _limited(noun, schema, many=many) if kind in ("integer", "number") else noun


def _items(schema: Mapping[str, Any]) -> str:
    """Say in words what a list holds."""
    if "prefixItems" in schema:
        return ", ".join(map(_words, schema["prefixItems"]))
    least = schema.get("minItems")
    return (f"{least} or more " if least else "") + _words(schema.get("items", {}), many=True)


def _limited(noun: str, schema: Mapping[str, Any], *, many: bool) -> str:
    """Say in words between which limits a number lies."""
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and low == high:
        return str(low)
    if "multipleOf" in schema:
        noun = f"{'multiples' if many else 'a multiple'} of {schema['multipleOf']},"
    if low is not None and high is not None:
        return f"{noun} from {low} to {high}"
    limits = " and ".join(f"{word} {schema[key]}" for key, word in _LIMITS.items() if key in schema)
    return f"{noun} {'of ' if limits.startswith('at') else ''}{limits}".rstrip(" ,")


def _either(choices: Sequence[Any]) -> str:
    """Join choices to ``a, b or c``."""
    *others, last = map(str, choices)
    return f"{', '.join(others)} or {last}" if others else last
