"""Weight files that extractors and methods need: which, where, and whether the right ones.

Nothing here uses the network. A file is known by its SHA-256. Where its publisher states none, it
is known by the layout of its tensors, and its SHA-256 becomes part of every number's
protocol, so that numbers from two different files never share a column.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

from platformdirs import user_data_path

from cerebench.core.errors import EXIT_WEIGHTS, UserError
from cerebench.core.hashing import sha256_bytes, sha256_file
from cerebench.core.known_weights import KNOWN, Weights


class MissingWeights(UserError, RuntimeError):
    """A weight file is needed that is not there (or is not the one it must be)."""

    exit_code = EXIT_WEIGHTS


def find(name: str) -> Path:
    """Find a known weight file and verify it.

    Looked for in ``$CEREBENCH_WEIGHTS_DIR``, the user data directory and the checkpoint folder of
    torch hub, in this order; a wrong file is passed over.

    Args:
        name: Key of ``KNOWN``.

    Returns:
        Path of a file whose SHA-256 is the known one.

    Raises:
        MissingWeights: If there is none; the text says what was found and what to type.
    """
    if name not in KNOWN:
        raise MissingWeights(f"No weights named '{name}'. Known: {', '.join(KNOWN)}.")
    weights = KNOWN[name]
    path, state = _look_up(weights)
    if path is None:
        raise MissingWeights(
            f"{weights.file} is needed ({state}). Get it at {weights.url} and run: "
            "bench weights import FILE"
        )
    return path


def find_unverified(name: str) -> Path:
    """Find a file of a known name whatever its SHA-256 is.

    Args:
        name: Key of ``KNOWN``.

    Raises:
        MissingWeights: If there is no such file.
    """
    weights = KNOWN[name]
    path = next(_candidates(weights), None)
    if path is None:
        raise MissingWeights(f"No file named {weights.file} in any of the places for weights.")
    return path


def status(*names: str) -> list[dict[str, str | None]]:
    """Report on weight files.

    Args:
        names: Keys of ``KNOWN``; all of them when none is given.

    Returns:
        One table row each, JSON values: ``name``, ``state`` (``ok``, ``missing`` or
        ``wrong file: PATH``), ``path`` (None unless ok), ``file``, ``licence``, ``url`` and
        ``origin``.
    """
    return [_row(KNOWN[name]) for name in names or KNOWN]


def _row(weights: Weights) -> dict[str, str | None]:
    path, state = _look_up(weights)
    return {
        "name": weights.name,
        "state": state,
        "path": str(path) if path else None,
        "file": weights.file,
        "licence": weights.licence,
        "url": weights.url,
        "origin": weights.origin,
    }


def import_file(path: Path, layout_of: Callable[[Path], str]) -> str:
    """Copy a weight file to where ``find`` looks first, if it is a known one.

    Args:
        path: The file, under any name; it is left as it is.
        layout_of: Returns the ``layout_hash`` of the tensors in a file, empty where it holds none;
            asked where no SHA-256 tells which file it is.

    Returns:
        Name of the weights that it holds, a key of ``KNOWN``.

    Raises:
        MissingWeights: If the file does not exist or is none of the known ones.
    """
    if not path.is_file():
        raise MissingWeights(f"{path} is not a file. Give the path of a weight file.")
    digest = sha256_file(path)
    stated = [w for w in KNOWN.values() if w.sha256_prefix and digest.startswith(w.sha256_prefix)]
    layout = "" if stated else layout_of(path)
    others = [w for w in KNOWN.values() if not w.sha256_prefix and w.layout_sha256 == layout]
    for weights in (*stated, *others):
        _copy(path, _folders()[0] / weights.file)
        return weights.name
    known = ", ".join(f"{w.file} ({_known_by(w)})" for w in KNOWN.values())
    raise MissingWeights(
        f"{path} has SHA-256 {digest[:8]}… and is none of the known weight files: {known}. "
        "Download it again; a broken download is the usual cause."
    )


def _known_by(weights: Weights) -> str:
    return f"{weights.sha256_prefix}…" if weights.sha256_prefix else "by the layout of its tensors"


def layout_hash(shapes: Iterable[tuple[str, tuple[int, ...]]]) -> str:
    """Hash the names and shapes of tensors: SHA-256 of sorted ``name:shape`` lines.

    Batch counters are left out because not every file carries them.
    """
    lines = [f"{n}:{tuple(s)}" for n, s in shapes if not n.endswith("num_batches_tracked")]
    return sha256_bytes("\n".join(sorted(lines)).encode())


@cache
def _remembered_sha256(path: Path, size: int, changed: int) -> str:
    """Hash a file once a process, unless its size or its time of change becomes another."""
    return sha256_file(path)


def _look_up(weights: Weights) -> tuple[Path | None, str]:
    """Return the first verified copy, if there is one, and the state in words."""
    state = "missing"
    for path in _candidates(weights):
        facts = path.stat()
        digest = _remembered_sha256(path, facts.st_size, facts.st_mtime_ns)
        if digest.startswith(weights.sha256_prefix):
            return path, "ok"
        state = f"wrong file: {path}"
    return None, state


def _candidates(weights: Weights) -> Iterator[Path]:
    return (p for folder in _folders() if (p := folder / weights.file).is_file())


def _folders() -> list[Path]:
    """Where weights are looked for; imported ones go to the first."""
    chosen = os.environ.get("CEREBENCH_WEIGHTS_DIR")
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache"))
    torch_home = Path(os.environ.get("TORCH_HOME", cache / "torch"))
    folders = [
        *([Path(chosen)] if chosen else []),
        user_data_path("cerebench") / "weights",
        torch_home / "hub" / "checkpoints",
    ]
    return [folder.expanduser() for folder in folders]


def _copy(source: Path, target: Path) -> None:
    """Copy so that the target is either absent, the old file or the complete new one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        part = Path(folder) / target.name
        shutil.copyfile(source, part)
        with part.open("rb+") as stream:
            os.fsync(stream.fileno())
        part.replace(target)
