"""Metrics and protocols as a plan holds them: loaded, configured, and hashed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cerebench.benchmark.engine.registry import Registries
from cerebench.benchmark.planning import config as configuration
from cerebench.core import weights
from cerebench.core.hashing import key_of, sha256_file
from cerebench.metrics.base import Metric, MissingWeights

if TYPE_CHECKING:
    from cerebench.metrics.downstream.base import DownstreamProtocol


@dataclass(frozen=True)
class PlannedMetric:
    """A metric with the hash of its protocol; ``unavailable`` says why it cannot be computed."""

    metric: Metric
    recipe_hash: str
    unavailable: str = ""

    @property
    def name(self) -> str:
        """Return the metric's name."""
        return self.metric.name

    def compared_with(self, reference: str) -> PlannedMetric:
        """Return the metric with another reference than training cases; its recipe says so."""
        if self.metric.recipe.get("reference") != "train":
            return self
        metric = dataclasses.replace(
            self.metric, recipe={**self.metric.recipe, "reference": reference}
        )
        changed = key_of({"protocol": self.recipe_hash, "reference": reference})
        return PlannedMetric(metric, changed, self.unavailable)


@dataclass(frozen=True)
class PlannedProtocol:
    """A downstream protocol, configured.

    Attributes:
        protocol: An instance.
        resolved: Its configuration with the source of every value.
        recipe_hash: Identifies protocol, version, configuration, code and weights.
        unavailable: Why it cannot be run, or empty.
    """

    protocol: DownstreamProtocol
    resolved: configuration.Resolved
    recipe_hash: str
    unavailable: str = ""

    @property
    def name(self) -> str:
        """Return the protocol's name."""
        return self.protocol.info.name

    @property
    def needs_samples(self) -> bool:
        """Say whether it has a result for each generator, or one for the data set."""
        return self.protocol.info.needs_samples


def plan_metric(name: str, registries: Registries) -> PlannedMetric:
    """Load a metric and hash its protocol; note when its extractor's weights are missing."""
    metric = registries.metrics.load(name)
    protocol: dict[str, Any] = {
        "name": metric.name,
        "version": metric.version,
        "recipe": dict(metric.recipe),
        "views": list(metric.views),
        "source": registries.metrics.source_hash(name),
    }
    reason = ""
    if metric.needs:
        protocol["extractor"], reason = _extractor_facts(metric.needs, registries)
    return PlannedMetric(metric, key_of(protocol), reason)


def plan_protocol(
    name: str,
    preset: str,
    overrides: Mapping[str, Any],
    development: Mapping[str, int],
    registries: Registries,
) -> PlannedProtocol:
    """Configure a protocol and hash it; note when its weights are missing.

    Args:
        name: Name of the protocol.
        preset: Name of one of its presets.
        overrides: Field to value.
        development: Class to number of real training cases.
        registries: Where it is found.

    Raises:
        MetricError: If the data set has too few cases for it.
    """
    cls = registries.protocols.load(name)
    resolved = configuration.resolve(cls, preset, overrides=overrides)
    protocol = cls(resolved.config)
    protocol.demand(development)
    recipe: dict[str, Any] = {
        "protocol": name,
        "version": cls.info.version,
        "config": resolved.keyed,
        "plugin": registries.protocols.source_hash(name),
    }
    reason = ""
    if cls.info.weights:
        recipe["weights"], reason = _weights_facts(cls.info.weights)
    return PlannedProtocol(protocol, resolved, key_of(recipe), reason)


def _weights_facts(name: str) -> tuple[str, str]:
    """Return the SHA-256 of a weight file, and why it is unavailable (or an empty string)."""
    try:
        return sha256_file(weights.find(name)), ""
    except MissingWeights as error:
        return "missing", str(error)


def _extractor_facts(name: str, registries: Registries) -> tuple[dict[str, Any], str]:
    """Return what identifies an extractor, and why it is unavailable (or an empty string)."""
    cls = registries.extractors.load(name)
    try:
        extractor = cls()
    except MissingWeights as error:
        return {"name": name, "weights": "missing"}, str(error)
    facts = {
        "name": extractor.name,
        "version": extractor.version,
        "weights": extractor.weights_sha256,
        "input": dict(extractor.input),
    }
    if source := registries.extractors.source_hash(name):
        facts["plugin"] = source
    return facts, ""


def downstream_record(folder: Path, protocol: str, key: str) -> Path:
    """Return the path of a downstream record; while it is made, a folder of its stem is beside."""
    return folder / "downstream" / f"{protocol}@{key[:8]}.json"
