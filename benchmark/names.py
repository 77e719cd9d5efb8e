"""Names that become part of a path, checked before anything is written.

The rules are those of ``cerebench.datasets.folders.names``.
"""

from __future__ import annotations

from typing import Any

from cerebench.benchmark.errors import BrokenPlugin
from cerebench.core.errors import UsageError
from cerebench.datasets.base import Dataset
from cerebench.datasets.folders.names import NAME_RULE, check_labels, is_name, shown


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


def check_plugin(kind: str, name: str, plugin: Any) -> None:
    """Refuse a plugin whose name, or whose own idea of it, could not be part of a path.

    Raises:
        BrokenPlugin: Naming it.
    """
    own = getattr(getattr(plugin, "info", plugin), "name", name)
    for text in (name, own):
        if fault := name_fault(f"A {kind}", text):
            raise BrokenPlugin(f"{fault} Rename it in its package.")


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
