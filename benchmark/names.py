"""Names that become part of a path, checked before anything is written.

The rules are those of ``cerebench.datasets.folders.names``.
"""

from __future__ import annotations

from typing import Any

from cerebench.benchmark.errors import BrokenPlugin
from cerebench.core.errors import UsageError
from cerebench.datasets.base import Dataset
from cerebench.datasets.folders.names import NAME_RULE, check_labels, is_name, shown

CONDITIONINGS = ("none", "class", "mask")
# What the ``info`` of a kind of plugin has to state, and the rest of the program reads first.
STATED = {
    "method": ("name", "label", "version", "source", "conditioning"),
    "dataset": ("name", "label", "classes", "channels"),
    "protocol": ("name", "label", "version", "source", "needs_samples"),
}


def name_fault(kind: str, text: object) -> str:
    """Return why a text cannot name a thing of a kind, or an empty string."""
    if isinstance(text, str) and is_name(text):
        return ""
    return f"{kind} is named {shown(str(text))}; {NAME_RULE}."


def check_name(kind: str, text: str, remedy: str) -> str:
    """Return a name that can be part of a path.

    Args:
        kind: What is named, for the message.
        text: The name.
        remedy: What to do about a wrong one.

    Raises:
        UsageError: If it cannot.
    """
    if fault := name_fault(kind, text):
        raise UsageError(f"{fault} {remedy}")
    return text


def check_plugin_name(kind: str, name: object) -> None:
    """Refuse a plugin whose name could not be part of a path.

    Raises:
        BrokenPlugin: Naming it.
    """
    if fault := name_fault(f"A {kind}", name):
        raise BrokenPlugin(f"{fault} Rename it in its package.")


def stated_name(kind: str, name: str, plugin: Any) -> Any:
    """Return what a plugin itself says that it is called.

    Raises:
        BrokenPlugin: If it lacks the ``info`` that plugins of this kind state, or a name.
    """
    info: Any = getattr(plugin, "info", None) if kind in STATED else plugin
    for fact in STATED.get(kind, ("name",)):
        if not hasattr(info, fact):
            place = "info" if kind in STATED else "it"
            raise BrokenPlugin(
                f"{kind} '{name}' states no {fact} ({place} is {type(info).__name__}). "
                "docs/architecture.md (Where to add) leads to a plugin that works."
            )
    return info.name


def check_plugin(kind: str, name: str, plugin: Any) -> None:
    """Refuse a plugin that cannot be used by its own statements.

    Its names, the registered one and its own, could not be part of a path; or it lacks the facts
    of its kind; or it is a method of a conditioning that does not exist.

    Raises:
        BrokenPlugin: Naming it.
    """
    check_plugin_name(kind, name)
    if kind not in STATED:
        return check_plugin_name(kind, getattr(plugin, "name", name))
    check_plugin_name(kind, stated_name(kind, name, plugin))
    if kind == "method" and plugin.info.conditioning not in CONDITIONINGS:
        raise BrokenPlugin(
            f"method '{name}': info.conditioning is {shown(str(plugin.info.conditioning))}; it "
            f"must be {', '.join(CONDITIONINGS[:-1])} or {CONDITIONINGS[-1]}."
        )
    return None


def check_dataset(name: str, dataset: Dataset) -> None:
    """Refuse a data set whose names could not be part of paths, or whose labels cannot be shown.

    Raises:
        BrokenPlugin: If its own name, a channel or the recipe is no name.
        DatasetError: If a class label cannot be used.
    """
    info = dataset.info
    named = [("itself", info.name), ("its recipe", dataset.recipe.name)]
    for what, text in [*named, *(("a channel", channel) for channel in info.channels)]:
        if fault := name_fault(f"dataset '{name}': {what}", text):
            raise BrokenPlugin(f"{fault} Rename it in its package.")
    check_labels(info.classes, f"dataset '{name}'")
