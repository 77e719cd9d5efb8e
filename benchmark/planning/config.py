"""From a preset and overrides to a resolved configuration in which every value has a source."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cerebench.benchmark.engine.registry import suggest
from cerebench.benchmark.errors import told
from cerebench.core import bounds
from cerebench.core.bounds import BadConfig
from cerebench.core.errors import UsageError
from cerebench.core.settings import BY_USER, Preset, accepted, check
from cerebench.core.texts import toml_value


@dataclass(frozen=True)
class Resolved:
    """The configuration of a method at one size, or of a protocol.

    Attributes:
        config: The frozen ``Config``; a method's has passed through ``for_size``.
        preset: Name of the preset it starts from.
        values: Field to JSON value.
        sources: Field to provenance tag; overrides of the user read ``[user: --set]``.
    """

    config: Any
    preset: str
    values: Mapping[str, Any]
    sources: Mapping[str, str]

    @property
    def keyed(self) -> dict[str, Any]:
        """Return the values that a key is made of: without later settings at their default."""
        declared = {f.name: f for f in dataclasses.fields(self.config)}
        return {
            name: value
            for name, value in self.values.items()
            if not (
                declared[name].metadata.get("since")
                and getattr(self.config, name) == declared[name].default
            )
        }


def parse_assignment(text: str) -> tuple[str, str, Any]:
    """Split ``NAME.field=value`` into name, field and a TOML value (else a plain text).

    Raises:
        UsageError: If the text has another form.

    Example:
        >>> parse_assignment("wgan-gp.lr=2e-4")
        ('wgan-gp', 'lr', 0.0002)
    """
    target, equals, value = text.partition("=")
    method, dot, field = target.strip().rpartition(".")
    if not (equals and dot and method and field):
        raise UsageError(f"--set expects NAME.field=value, got '{text}'. Example: wgan-gp.lr=2e-4.")
    return method, field, toml_value(value)


def resolve(
    plugin: Any, preset: str, size: int | None = None, overrides: Mapping[str, Any] | None = None
) -> Resolved:
    """Resolve the configuration of a method or a protocol.

    Args:
        plugin: The class.
        preset: Name of one of its presets.
        size: Edge length of the volumes, voxels; protocols depend on none.
        overrides: Field to value, from ``--set`` and the experiment's ``[set.<name>]``.

    Raises:
        UsageError: If the plugin has no such preset.
        BadConfig: If a field does not exist or a value has the wrong type or is impossible, or a
            method cannot work at this size.
    """
    name, found = plugin.info.name, preset_of(plugin, preset)
    fields = [f.name for f in dataclasses.fields(found.config)]
    for field in overrides or {}:
        if field not in fields:
            near = suggest("setting", field, fields).split("'.", 1)[1].split(" Known")[0]
            raise BadConfig(
                f"{name} has no setting '{field}'.{near} Settings: {', '.join(fields)}."
            )
    changes = _changes(name, found.config, overrides or {})
    check(name, found.config, where=f" in preset '{preset}'")
    try:
        config = dataclasses.replace(found.config, **changes)
        config = config if size is None else config.for_size(size)
    except ValueError as error:
        raise BadConfig(f"{name} ({preset}): {error}") from error
    except Exception as error:  # foreign code, which may fail in any way
        raise BadConfig(
            f"{name} ({preset}): for_size({size}) fails with {told(error)}. Correct its Config."
        ) from error
    sources = {**found.sources, **dict.fromkeys(changes, BY_USER)}
    return Resolved(config, preset, json_values(config), sources)


def _changes(name: str, config: Any, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return overrides as their fields have them."""
    accepts = accepted(type(config))
    return {f: bounds.typed(f"{name}.{f}", value, accepts[f]) for f, value in overrides.items()}


def preset_of(plugin: Any, preset: str) -> Preset:
    """Return a preset of a method or a protocol.

    Raises:
        UsageError: If the plugin has no such preset.
    """
    if preset not in plugin.presets:
        known = list(plugin.presets)
        raise UsageError(suggest(f"preset of {plugin.info.name}", preset, known))
    found = plugin.presets[preset]
    if not isinstance(found, Mapping):
        return found
    # Protocols of version 0.1 have changes of the defaults, each ``field: (value, source)``.
    values = {field: value for field, (value, _) in found.items()}
    tags = {field: source for field, (_, source) in found.items()}
    return Preset(plugin.Config(**values), size=0, sources=tags)


def json_values(config: Any) -> dict[str, Any]:
    """Return a configuration as plain JSON values (tuples become lists)."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in dataclasses.asdict(config).items()
    }


def resolve_paper(plugin: Any, size: int | None = None) -> Resolved:
    """Resolve the preset ``paper``, fitted to this size if possible.

    The tag of a value tells where it comes from at the preset's own size: a value that another size
    has changed is tagged as ours.

    Args:
        plugin: The class of a method or a protocol.
        size: Edge length of the volumes, voxels; protocols depend on none.
    """
    if size is None:
        return resolve(plugin, "paper")
    own = resolve(plugin, "paper", preset_of(plugin, "paper").size)
    try:
        fitted = resolve(plugin, "paper", size)
    except BadConfig:
        return own
    changed = [name for name, value in fitted.values.items() if value != own.values[name]]
    ours = dict.fromkeys(changed, f"[ours: fitted to size {size}]")
    return dataclasses.replace(fitted, sources={**fitted.sources, **ours})


def differences(resolved: Resolved, paper: Resolved) -> list[dict[str, Any]]:
    """List the settings that differ from the preset ``paper``, with the sources of both values."""
    return [
        {
            "setting": name,
            "value": value,
            "paper": paper.values[name],
            "source": resolved.sources[name],
            "paper_source": paper.sources[name],
        }
        for name, value in resolved.values.items()
        if value != paper.values[name]
    ]


def override_table(assignments: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Turn ``--set`` texts into name (or ``*``) to field to value."""
    table: dict[str, dict[str, Any]] = {}
    for text in assignments:
        method, field, value = parse_assignment(text)
        table.setdefault(method, {})[field] = value
    return table
