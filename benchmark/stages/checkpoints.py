"""Checkpoints of a training: the last two, each with the hash of its content in its name.

A name appears in one step with the content, so that none is ever without its hash. What has
another hash is damaged: the one before is loaded, and a training loses an interval, not all.
"""

from __future__ import annotations

import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from cerebench.core.files import replacing
from cerebench.core.hashing import sha256_file

if TYPE_CHECKING:
    Place = Callable[[torch.UntypedStorage, str], torch.UntypedStorage]

KEPT = 2
_NAME = re.compile(r"state-(\d+)-([0-9a-f]{64})\.pt")
_UNNAMED = "state.pt"  # complete, but killed before it was hashed; or of an older version


class Checkpoints:
    """The checkpoints in a folder.

    Args:
        folder: Where they lie; made when the first one is saved.
        key: Key of the training; a checkpoint of another one is passed over.
        say: Told in a line what is damaged, and from where the training goes on.
    """

    def __init__(self, folder: Path, key: str, say: Callable[[str], None]) -> None:
        self._folder, self._key, self._say = folder, key, say

    def save(self, state: dict[str, Any]) -> None:
        """Write a checkpoint of tensors and plain values; older ones than the one before go."""
        self._folder.mkdir(exist_ok=True)
        unnamed = self._folder / _UNNAMED
        with replacing(unnamed) as temporary:
            torch.save({**state, "key": self._key}, temporary)
        before = list(self._numbered())
        number = 1 + max((number for number, _ in before), default=0)
        unnamed.rename(self._folder / f"state-{number:08d}-{sha256_file(unnamed)}.pt")
        files = [path for _, path in before if path.is_file()]
        for path in files[KEPT - 1 :]:
            path.unlink(missing_ok=True)

    def load(self, place: Place) -> dict[str, Any]:
        """Return the newest state that is intact; empty where there is none.

        Args:
            place: Where a stored tensor's memory goes, given it and where it was.
        """
        damaged: list[Path] = []
        newest = self._folder / _UNNAMED
        for path in ([newest] if newest.exists() else []) + [p for _, p in self._numbered()]:
            if not is_intact(path):
                damaged.append(path)
                continue
            # Torch's types say less of a storage than it has.
            kind = {"map_location": place, "weights_only": True}
            state = torch.load(path, **kind)  # pyright: ignore[reportArgumentType]
            if state.pop("key", self._key) == self._key:
                self._tell(damaged, "Training goes on from the checkpoint before it")
                return state
        self._tell(damaged, "There is no other, so the training starts anew")
        return {}

    def remove(self) -> None:
        """Remove all of them; where somebody put a link in the folder's place, the link alone."""
        if self._folder.is_symlink():
            self._folder.unlink()
        elif self._folder.exists():
            shutil.rmtree(self._folder)

    def _tell(self, damaged: list[Path], so: str) -> None:
        """Say what is damaged, and remove it, so that it takes the place of none that is not."""
        for path in damaged:
            self._say(f"{path}: this checkpoint is damaged. {so}.")
            if path.is_file():
                path.unlink()

    def _numbered(self) -> Iterator[tuple[int, Path]]:
        """Yield number and path of the named checkpoints, the newest first."""
        for path in sorted(self._folder.glob("state-*.pt"), reverse=True):
            if found := _NAME.fullmatch(path.name):
                yield int(found[1]), path


def is_intact(path: Path) -> bool:
    """Say whether a checkpoint holds what was written.

    One without a hash is an archive with a checksum for each of its parts.
    """
    if not path.is_file():
        return False
    if found := _NAME.fullmatch(path.name):
        return sha256_file(path) == found[2]
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, EOFError, ValueError):
        return False
