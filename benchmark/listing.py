"""What ``bench list`` and ``bench show`` say about plugins."""

from __future__ import annotations

import dataclasses
import inspect
import json
import sys
from collections.abc import Mapping
from importlib.resources import files
from importlib.util import find_spec
from typing import Any

from cerebench.benchmark.engine.registry import Registries, Registry, suggest, vars_of
from cerebench.benchmark.errors import UnknownPlugin
from cerebench.benchmark.planning import experiment as experiments
from cerebench.benchmark.planning.config import json_values, preset_of
from cerebench.core.bounds import in_words
from cerebench.core.settings import accepted
from cerebench.metrics.suites import SUITES, named

KINDS = (
    "methods", "metrics", "suites", "datasets", "protocols", "extractors", "reports", "experiments",
)  # fmt: skip


def rows(kind: str, registries: Registries) -> list[dict[str, Any]]:
    """Return one object per plugin of a kind; static facts only, so nothing heavy is imported."""
    if kind == "experiments":
        return [{"name": n, "title": experiments.read(n).title} for n in experiments.shipped()]
    if kind == "suites":
        return [
            {"name": s.name, "metrics": list(s.metrics), "note": s.note} for s in SUITES.values()
        ]
    registry: Registry = getattr(registries, kind)
    return [_row(kind, name, registry) for name in registry.names()]


def _row(kind: str, name: str, registry: Registry) -> dict[str, Any]:
    reason = registry.unavailable(name)
    facts = registry.facts(name)
    if not facts and not reason:
        facts = _facts_of(kind, registry.load(name))
    missing = _missing(kind, facts)
    for internal in ("paper_row", "package", "extra", "any_file_of", "bounded"):
        facts.pop(internal, None)
    return {
        "name": name,
        **facts,
        "origin": registry.origin(name),
        "available": not (reason or missing),
        "reason": reason or missing,
    }


def _facts_of(kind: str, plugin: Any) -> dict[str, Any]:
    """Return the facts of a third-party plugin, which only its own class knows."""
    if kind in ("methods", "protocols"):
        info = dataclasses.asdict(plugin.info)
        return {**{k: v for k, v in info.items() if k != "name"}, "presets": list(plugin.presets)}
    if kind == "metrics":
        return {
            "label": plugin.label,
            "source": plugin.source,
            "better": str(plugin.better),
            "needs": plugin.needs,
            "views": list(plugin.views),
        }
    if kind == "datasets":
        info = plugin.info
        return {
            "label": info.label,
            "source": info.source,
            "classes": list(info.classes),
            "needs_root": info.needs_root,
        }
    if kind == "reports":
        return {"label": plugin.label, "kind": type(plugin).__name__.lower()}
    return vars_of(plugin) if kind == "extractors" else {}


def _missing(kind: str, facts: dict[str, Any]) -> str:
    """Return why a plugin lacks the weight file or package that it needs, or an empty string."""
    from cerebench.core import weights
    from cerebench.metrics import extractors

    if kind == "metrics":
        needs = extractors.BUILTIN.get(facts.get("needs", ""), ("", {}))[1]
    else:
        needs = facts if kind in ("extractors", "protocols") else {}
    if needs.get("package") and not find_spec(needs["package"]):
        extra = needs["extra"]
        return f"{needs['package']} is not installed. Run: pip install 'cerebench[{extra}]'"
    if needs.get("any_file_of"):
        return _missing_file(needs["any_file_of"])
    if not needs.get("weights"):
        return ""
    (row,) = weights.status(needs["weights"])
    return "" if row["path"] else f"{row['file']} is {row['state']}. Run: bench weights import FILE"


def _missing_file(name: str) -> str:
    """Return why there is no weight file of a known name, whatever its hash, or an empty string."""
    from cerebench.core import weights
    from cerebench.metrics.base import MissingWeights

    try:
        weights.find_unverified(name)
    except MissingWeights as error:
        return str(error)
    return ""


def show(name: str, registries: Registries) -> dict[str, Any]:
    """Return everything known about a plugin or a shipped experiment.

    Raises:
        UnknownPlugin: If nothing has this name.
    """
    if name in registries.methods.names():
        return show_method(name, registries)
    if name in registries.metrics.names():
        return show_metric(name, registries)
    if name in registries.protocols.names():
        return show_protocol(name, registries)
    if name in registries.datasets.names():
        return show_dataset(name, registries)
    if name in registries.extractors.names():
        return _row("extractors", name, registries.extractors) | {"kind": "extractor"}
    if suite := named(name):
        return {"kind": "suite", **dataclasses.asdict(suite)}
    if name in experiments.shipped():
        return {"kind": "experiment", **dataclasses.asdict(experiments.read(name))}
    known = [
        *registries.methods.names(),
        *registries.metrics.names(),
        *registries.protocols.names(),
        *registries.datasets.names(),
        *registries.extractors.names(),
        *SUITES,
        *experiments.shipped(),
    ]
    raise UnknownPlugin(suggest("plugin", name, known))


def show_method(name: str, registries: Registries) -> dict[str, Any]:
    """Return a method's presets with every value and source, and parameter counts."""
    import torch

    cls = registries.methods.load(name)
    presets = {}
    for preset, base in cls.presets.items():
        with torch.device("meta"):
            nets = cls(base.config, size=base.size, classes=("LGG", "HGG")).nets
        presets[preset] = {
            "size": base.size,
            "settings": _settings(base.config.for_size(base.size), base.sources),
            "parameters": {
                n: sum(p.numel() for p in net.parameters() if p.requires_grad)
                for n, net in nets.items()
            },
        }
    return {
        "kind": "method",
        **dataclasses.asdict(cls.info),
        "origin": registries.methods.origin(name),
        "departures": list(cls.departures),
        "presets": presets,
    }


def _settings(config: Any, sources: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return value, meaning, what is accepted and source of every field of a configuration."""
    meanings = {f.name: f.metadata.get("meaning", "") for f in dataclasses.fields(config)}
    accepts = accepted(type(config))
    return {
        field: {
            "value": value,
            "meaning": meanings[field],
            "accepts": in_words(accepts[field]),
            "source": sources[field],
        }
        for field, value in json_values(config).items()
    }


def show_protocol(name: str, registries: Registries) -> dict[str, Any]:
    """Return what a protocol trains on, and its presets with every value and source."""
    cls = registries.protocols.load(name)
    presets = {preset: preset_of(cls, preset) for preset in cls.presets}
    from cerebench.metrics.downstream.base import DownstreamProtocol as Base

    own = [c.__module__ for c in cls.__mro__ if issubclass(c, Base) and c is not Base]
    return {
        "kind": "protocol",
        **_row("protocols", name, registries.protocols),
        "definition": "\n".join(_documentation(module) for module in dict.fromkeys(own)),
        "presets": {
            preset: {"settings": _settings(found.config, found.sources)}
            for preset, found in presets.items()
        },
    }


def show_metric(name: str, registries: Registries) -> dict[str, Any]:
    """Return a metric's whole recipe."""
    from cerebench.benchmark.planning.planned import plan_metric

    planned = plan_metric(name, registries)
    metric = planned.metric
    return {
        "kind": "metric",
        "name": metric.name,
        "label": metric.label,
        "version": metric.version,
        "better": str(metric.better),
        "views": list(metric.views),
        "needs": metric.needs,
        "least": metric.least,
        "scale": metric.scale,
        "source": metric.source,
        "definition": _documentation(metric.compute.__module__),
        **({"legend": metric.legend} if metric.legend else {}),
        "blind_to": metric.blind_to,
        **measured(name),
        "recipe": dict(metric.recipe),
        "recipe_hash": planned.recipe_hash,
        "unavailable": planned.unavailable,
        "origin": registries.metrics.origin(name),
    }


def measured(name: str) -> dict[str, str]:
    """Return what ``bench ladder`` found a built-in metric to see, by data; docs/ladder.md."""
    found, folder = {}, files("cerebench.metrics").joinpath("cards")
    for file in sorted(folder.iterdir(), key=str) if folder.is_dir() else ():
        card = json.loads(file.read_text("utf-8"))
        for view, verdicts in card["metrics"].get(name, {}).items():
            told = "\n".join(f"{word}: {'; '.join(seen)}" for word, seen in verdicts.items())
            title = card["title"].removeprefix("What metrics see on ")
            found[" · ".join(filter(None, ("measured", view, title)))] = told
    return found


def _documentation(module: str) -> str:
    """Return what a plugin's module says about it: formula, variant, departures."""
    text = inspect.cleandoc(sys.modules[module].__doc__ or "")
    return "\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def show_dataset(name: str, registries: Registries) -> dict[str, Any]:
    """Return a dataset's static facts."""
    cls = registries.datasets.load(name)
    facts = {k: list(v) if isinstance(v, tuple) else v for k, v in vars(cls.info).items()}
    origin = registries.datasets.origin(name)
    return {"kind": "dataset", **facts, "split": dict(cls.info.split), "origin": origin}
