"""Names to plugins. Nothing is imported until a name is loaded."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points, version
from inspect import isabstract
from pathlib import Path
from typing import Any

from cerebench import datasets, methods, metrics, reports
from cerebench.benchmark import errors
from cerebench.benchmark.errors import BrokenPlugin, UnknownPlugin, no_exit
from cerebench.benchmark.names import check_plugin, check_plugin_name, stated_name
from cerebench.core.hashing import sha256_file
from cerebench.datasets.base import Dataset
from cerebench.datasets.folders.names import is_name
from cerebench.datasets.parallel import PLUGIN_FILE
from cerebench.metrics import downstream, extractors
from cerebench.metrics.base import Metric
from cerebench.reports.base import Plot, Renderer

# Name to target ``module:attribute``, alone or with static facts.
Table = Mapping[str, str | tuple[str, Mapping[str, Any]]]

# What --plugin FILE may hold, as messages call it.
_OF_FILES = ("method", "dataset", "metric", "method, dataset or metric", "plugin")
NAMED = 40  # names that a message about a wrong one lists at most


def suggest(kind: str, name: str, known: Iterable[str]) -> str:
    """Return the one-line message for a name that does not exist."""
    known = list(known)
    near = get_close_matches(name, known, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    file = _file_here(name) if kind in _OF_FILES else None
    lies_here = f" {file} lies here; to use it, add --plugin {file}." if file else ""
    more = len(known) - NAMED
    listed = ", ".join(known[:NAMED]) or "none"
    if more > 0:
        listed += f" and {more} more" + " (bench list)" * (kind in _OF_FILES)
    return f"No {kind} named '{name}'.{hint}{lies_here} Known: {listed}."


def _file_here(name: str) -> Path | None:
    """Return the file in the working folder that may hold a plugin of this name; never load it."""
    stem = name.replace("-", "_")
    places = [Path(f"{stem}.py"), Path(stem) / f"{stem}.py"] if is_name(stem) else []
    return next((path for path in places if path.is_file()), None)


class Registry:
    """The plugins of one kind: built in, from entry points, and from files given by the user.

    Args:
        kind: What a plugin is called in messages (``method``).
        group: Entry-point group of third parties.
        builtin: Name to target, with static facts where the declaration itself is heavy to import.
    """

    def __init__(self, kind: str, group: str, builtin: Table) -> None:
        self.kind, self.group = kind, group
        pairs = {name: (t, {}) if isinstance(t, str) else t for name, t in builtin.items()}
        self._facts = {name: dict(facts) for name, (_, facts) in pairs.items()}
        self._files: dict[str, tuple[Path, Any]] = {}
        self._found: dict[str, EntryPoint] = {}
        self._claims: dict[str, str] = {}  # names that several claim; only their use is refused
        ours = [EntryPoint(name, target, group) for name, (target, _) in pairs.items()]
        for ep in [*ours, *entry_points(group=group)]:
            other = self._found.setdefault(ep.name, ep)
            if other.value != ep.value:
                self._claims[ep.name] = f"claimed by {other.value} and {ep.value}"

    def names(self) -> list[str]:
        """Return all names: built in first and in their order, then the others sorted."""
        others = sorted({*self._found, *self._files} - set(self._facts))
        return [*self._facts, *others]

    def facts(self, name: str) -> dict[str, Any]:
        """Return the static facts of a plugin in its table; none where its declaration has them."""
        return dict(self._facts.get(name, {}))

    def origin(self, name: str) -> str:
        """Say where a plugin comes from: ``built in``, ``package x 1.2`` or a file name."""
        if name in self._files:
            return f"file {self._files[name][0].name}"
        if name in self._facts:
            return "built in"
        dist = self._found[name].dist
        return f"package {dist.name} {dist.version}" if dist else self._found[name].value

    def load(self, name: str) -> Any:
        """Import a plugin.

        Raises:
            UnknownPlugin: If no plugin has this name.
            BrokenPlugin: If it cannot be imported, or its name could not be part of a path.
        """
        if name in self._files:
            return self._files[name][1]
        if name not in self._found:
            raise UnknownPlugin(suggest(self.kind, name, self.names()))
        if claims := self._claims.get(name):
            raise BrokenPlugin(f"{self.kind} '{name}' is {claims}. Uninstall one of them.")
        ep = self._found[name]
        check_plugin_name(self.kind, name)  # before any of its code runs
        with _importing(f"{self.kind} '{name}' ({ep.value}) cannot be loaded"):
            plugin = ep.load()
        check_plugin(self.kind, name, plugin)
        return plugin

    def unavailable(self, name: str) -> str:
        """Return why a plugin cannot be used, or an empty string. Imports it unless built in."""
        if name in self._facts and name not in self._claims:
            return ""
        try:
            self.load(name)
        except BrokenPlugin as error:
            return str(error)
        return ""

    def add_file(self, path: Path, name: str, plugin: Any) -> None:
        """Register a plugin loaded from a file during development.

        Raises:
            BrokenPlugin: If an installed plugin already has the name, or it is none.
        """
        check_plugin(self.kind, name, plugin)
        if name in self._found:
            raise BrokenPlugin(
                f"{self.kind} '{name}' of {path} is already installed ({self._found[name].value}). "
                "Rename one of them."
            )
        self._files[name] = (path, plugin)

    def source_hash(self, name: str) -> str | None:
        """Return the SHA-256 of an external plugin's source, or None for a built-in one."""
        if name in self._files:
            return sha256_file(self._files[name][0])
        if name in self._facts:
            return None
        module = importlib.util.find_spec(self._found[name].value.split(":")[0])
        if module is None or module.origin is None:
            return None
        return sha256_file(Path(module.origin))


class MetricRegistry(Registry):
    """The metrics; those that any feature space has are made from their names.

    Args:
        builtin: As for ``Registry``.
        extractors: The feature spaces.
    """

    def __init__(self, builtin: Table, extractors: Registry) -> None:
        super().__init__("metric", "cerebench.metrics", builtin)
        self._extractors = extractors

    def names(self) -> list[str]:
        """Return the names of all that were declared, and of those of others' feature spaces."""
        declared = super().names()
        others = [n for n in self._extractors.names() if self._extractors.origin(n) != "built in"]
        made = [name for extractor in others for name in self._made(extractor)]
        return [*declared, *(name for name in made if name not in declared)]

    def origin(self, name: str) -> str:
        """Say where a metric comes from: as of a plugin, or the origin of its feature space."""
        if self._declared(name) or not (extractor := self._extractor_of(name)):
            return super().origin(name)
        return self._extractors.origin(extractor)

    def load(self, name: str) -> Any:
        """Import a metric, or make it for its feature space.

        Raises:
            UnknownPlugin: If there is neither such a metric nor such a feature space.
            BrokenPlugin: If it cannot be imported, or its name could not be part of a path.
        """
        if not self._declared(name) and (extractor := self._extractor_of(name)):
            return self._made(extractor)[name]()
        return super().load(name)

    def unavailable(self, name: str) -> str:
        """Return why a metric cannot be used, or an empty string."""
        if not self._declared(name) and (extractor := self._extractor_of(name)):
            return self._extractors.unavailable(extractor)
        return super().unavailable(name)

    def source_hash(self, name: str) -> str | None:
        """Return the SHA-256 of an external metric's source; None of one that is made here."""
        if not self._declared(name) and self._extractor_of(name):
            return None
        return super().source_hash(name)

    def _declared(self, name: str) -> bool:
        return name in self._found or name in self._files

    def _extractor_of(self, name: str) -> str:
        """Return the feature space whose name ends a metric's; empty where there is none."""
        from cerebench.metrics.features.families import WHITENED

        plain = name.removesuffix(WHITENED)
        known = [e for e in self._extractors.names() if plain.endswith(f"-{e}")]
        return next((e for e in sorted(known, key=len) if name in self._made(e)), "")

    def _made(self, extractor: str) -> dict[str, Any]:
        """Return what makes the metrics of a feature space; none where its class does not say."""
        from cerebench.metrics.features.families import Space, metrics_of

        facts = self._extractors.facts(extractor)
        try:
            source = facts or vars_of(self._extractors.load(extractor))
        except BrokenPlugin:
            return {}
        if "ndim" not in source:  # known of an instance alone, which may need weights
            return {}
        space = Space(extractor, source["ndim"], bool(source.get("bounded", False)))
        return metrics_of(space)


def vars_of(extractor: Any) -> dict[str, Any]:
    """Return the facts that an extractor's class states."""
    names = ("label", "source", "dim", "ndim", "weights", "bounded")
    return {name: getattr(extractor, name) for name in names if hasattr(extractor, name)}


class Registries:
    """All tables of one process. Constructed once, by the command line or a test."""

    def __init__(self) -> None:
        self.methods = Registry("method", "cerebench.methods", methods.BUILTIN)
        self.datasets = Registry("dataset", "cerebench.datasets", datasets.BUILTIN)
        self.reports = Registry("report", "cerebench.reports", reports.BUILTIN)
        self.extractors = Registry("extractor", "cerebench.extractors", extractors.BUILTIN)
        self.metrics = MetricRegistry(metrics.BUILTIN, self.extractors)
        self.protocols = Registry("protocol", "cerebench.protocols", downstream.BUILTIN)

    def add_plugin(self, target: str) -> str:
        """Load ``FILE[:NAME]`` and register the plugin it defines; return the plugin's name.

        ``NAME`` is that of a class, or of the variable that holds a metric, where a file defines
        several plugins.

        Raises:
            BrokenPlugin: If the file does not exist, cannot be imported, or holds no plugin or
                several.
        """
        file, _, wanted = target.partition(":")
        path = Path(file).resolve()
        module = _import_file(path)
        plugins = {
            variable: (kind, value)
            for variable, value in vars(module).items()
            if (kind := _kind_of(value, module.__name__)) and wanted in ("", variable)
        }
        if len(plugins) != 1:
            raise BrokenPlugin(
                f"{path.name} must define one plugin{f' named {wanted}' if wanted else ''} (a "
                f"Method, a Dataset, an extractor, a Metric, a Renderer or a Plot), found: "
                f"{', '.join(plugins) or 'none'}. Name it as --plugin {file}:NAME."
            )
        ((kind, plugin),) = plugins.values()
        registry = getattr(self, kind)
        name = stated_name(registry.kind, f"{path.name}:{next(iter(plugins))}", plugin)
        registry.add_file(path, name, plugin)
        return name


# What a plugin may be that is no class: its registry, and the function that tells its module.
DECLARED = (
    (Metric, "metrics", "compute"),
    (Renderer, "reports", "write"),
    (Plot, "reports", "draw"),
)


def _kind_of(value: Any, module: str) -> str:
    """Return of which registry a module's variable is a plugin; empty for one that is none.

    What a module imports is not its own.
    """
    from cerebench.methods.base import Method  # imports torch: only when a plugin is used

    for declared, kind, function in DECLARED:
        if isinstance(value, declared):
            return kind if getattr(value, function).__module__ == module else ""
    if not isinstance(value, type) or value.__module__ != module or isabstract(value):
        return ""
    if issubclass(value, Dataset):
        return "datasets"
    if issubclass(value, Method):
        return "methods"
    return "extractors" if hasattr(value, "extract") and hasattr(value, "ndim") else ""


def _import_file(path: Path) -> Any:
    """Import a Python file under a name of its own."""
    if not path.is_file():
        raise BrokenPlugin(f"Plugin file {path} does not exist. Give --plugin FILE[:CLASS].")
    name = f"{PLUGIN_FILE}{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise BrokenPlugin(f"Plugin file {path} is not a Python file. Give --plugin FILE[:CLASS].")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up here
    with _importing(f"Plugin file {path} cannot be imported"):
        spec.loader.exec_module(module)
    return module


@contextmanager
def _importing(failed: str) -> Iterator[None]:
    """Turn whatever foreign code raises while it is imported into a ``BrokenPlugin``.

    Ctrl-C, and an output that nobody reads, stay what they are.
    """
    try:
        with no_exit():
            yield
    except (KeyboardInterrupt, SystemExit, errors.Interrupted):
        raise
    except BaseException as error:
        raise BrokenPlugin(f"{failed}: {_told(error)}.") from error


def _told(error: BaseException) -> str:
    """Return an error of foreign code with its kind and the line that it comes from."""
    text = errors.told(error).rstrip(".")
    if isinstance(error, SyntaxError):  # tells its line itself
        return text
    frames = traceback.extract_tb((error.__cause__ or error).__traceback__)
    ours = (__file__, errors.__file__, contextlib.__file__)
    theirs = [f for f in frames if not f.filename.startswith("<") and f.filename not in ours]
    return (
        f"{text} ({Path(theirs[-1].filename).name}, line {theirs[-1].lineno})" if theirs else text
    )


def suite_version() -> str:
    """Return the installed version of Cerebench."""
    return version("cerebench")
