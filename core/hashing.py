"""One form of JSON that is hashed, and the hashes of values, bytes and files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def canonical(value: Any) -> str:
    """Return canonical JSON: sorted keys, separators ``,`` and ``:``, ASCII, no NaN.

    Example:
        >>> canonical({"b": [1, 2.5], "a": 1})
        '{"a":1,"b":[1,2.5]}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def key_of(value: Any) -> str:
    """Return the SHA-256 (64 hex digits) of canonical JSON.

    Example:
        >>> key_of({"a": 1, "b": [1, 2.5]})[:16]
        '07ac8340cb8a1f1a'
    """
    return sha256_bytes(canonical(value).encode("ascii"))


def seal_of(content: Mapping[str, Any]) -> str:
    """Return what the ``sha256`` of a JSON object must be: the key of all its other fields.

    Example:
        >>> seal_of({"a": 1, "sha256": "whatever"}) == key_of({"a": 1})
        True
    """
    return key_of({name: value for name, value in content.items() if name != "sha256"})


def sha256_bytes(data: bytes | memoryview) -> str:
    """Return the SHA-256 of bytes, 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
