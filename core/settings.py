"""Settings and presets: what methods and protocols are told, each value with its source.

A configuration is a frozen dataclass whose fields are made by ``setting`` and typed with what they
accept (``core.bounds``). It is checked where it is made: when a preset is resolved, and when a
method or a protocol is constructed, whatever the configuration was read from.
"""

from __future__ import annotations

import dataclasses
import typing
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Self

from cerebench.core.bounds import BadConfig, Precision, typed

# Presets that show that a method works: a table of them says so above it.
SHOWN_TO_WORK = ("smoke", "quick")
BY_USER = "[user: --set]"  # the source of a value that a user gave
# Presets with less training than the source's own: a row of them may be marked under-trained.
BELOW_PAPER = (*SHOWN_TO_WORK, "lite")


def setting(
    default: Any,
    meaning: str,
    source: str,
    *,
    since: str = "",
    least: float | None = None,
    choices: tuple[Any, ...] = (),
) -> Any:
    """Declare one field of a ``Config``; its annotation says what it accepts.

    Args:
        default: A plain JSON value (tuples for lists).
        meaning: What it is, with its unit, and what 0 does where 0 is no ordinary value.
        source: Where the value comes from: ``[paper: …]``, ``[code: …]`` or ``[ours: reason]``.
        since: Version that added the setting, where results of earlier ones exist. Its default must
            be what they did: keys leave it out there, so that those results stay valid.
        least: Of version 0.1, where protocols had no annotations with bounds; a plugin that still
            gives it is loaded, and told what to write instead.
        choices: As ``least``.

    Raises:
        BadConfig: If the source carries none of the three tags.
    """
    check_source(source)
    if least is not None or choices:
        warnings.warn(
            "setting(least=…, choices=…) checks nothing any more. Write what the setting accepts "
            "as its type, for example Annotated[int, Field(ge=1)] or Literal['paper', 'iso'].",
            FutureWarning,
            stacklevel=2,
        )
    return field(default=default, metadata={"meaning": meaning, "source": source, "since": since})


def check_source(source: str) -> None:
    """Refuse a provenance tag that is none of ``[paper: …]``, ``[code: …]``, ``[ours: …]``."""
    if not (source.startswith(("[paper: ", "[code: ", "[ours: ")) and source.endswith("]")):
        raise BadConfig(
            f"Source {source!r} is not a provenance tag. Write [paper: …], [code: …] or [ours: …]."
        )


@dataclass(frozen=True)
class Preset:
    """A named, complete configuration: every value with its source.

    Attributes:
        config: A frozen ``Config``.
        size: Default edge length of the volumes, voxels; 0 for a protocol, which depends on none.
        sources: Field name to provenance tag, for every field of the configuration.
    """

    config: Any
    size: int
    sources: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Fill the sources of untouched fields from their declaration."""
        declared = {f.name: f.metadata["source"] for f in dataclasses.fields(self.config)}
        object.__setattr__(self, "sources", {**declared, **self.sources})

    def override(self, *, size: int | None = None, **changes: tuple[Any, str]) -> Self:
        """Return a preset with some values changed, each given as ``(value, source)``.

        Raises:
            BadConfig: If a change carries no source, or names a field that does not exist.
        """
        names = [f.name for f in dataclasses.fields(self.config)]
        for name, change in changes.items():
            if name not in names:
                raise BadConfig(f"No setting named {name!r}. Settings: {', '.join(names)}.")
            if not (isinstance(change, tuple) and len(change) == 2 and isinstance(change[1], str)):
                raise BadConfig(f"Override of {name!r} must be (value, source), got {change!r}.")
            check_source(change[1])
        values = {name: value for name, (value, _) in changes.items()}
        tags = {name: source for name, (_, source) in changes.items()}
        return dataclasses.replace(
            self,
            config=dataclasses.replace(self.config, **values),
            size=size or self.size,
            sources={**self.sources, **tags},
        )


@cache
def accepted(config: type) -> dict[str, Any]:
    """Return the annotation of every field of a configuration class.

    Raises:
        BadConfig: If an annotation names something that its module does not hold.
    """
    try:
        hints = typing.get_type_hints(config, include_extras=True)
    except NameError as error:
        raise BadConfig(
            f"The settings of {config.__module__} cannot be checked: {error}. Import it at the "
            "top of that file."
        ) from error
    if hints.get("precision") is str:  # what version 0.1 asked for; the harness knows no others
        hints["precision"] = Precision
    return {f.name: hints[f.name] for f in dataclasses.fields(config)}


def check(name: str, config: Any, *, where: str = "") -> None:
    """Refuse a configuration with a value that its field does not accept.

    Values stay as they are: a key is made of them.

    Args:
        name: Of the method or protocol, for the message.
        config: An instance of its ``Config``.
        where: End of the message that tells where the value stands.

    Raises:
        BadConfig: If a value is impossible.
    """
    for field_name, accepts in accepted(type(config)).items():
        typed(f"{name}.{field_name}", getattr(config, field_name), accepts, where=where)
