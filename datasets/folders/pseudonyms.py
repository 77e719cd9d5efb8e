"""Names of cases and patients as salted hashes that are slow to compute.

Samples travel with the list of what their generator was trained on, so that others can see whether
a test case of theirs is among it. Another lab hashes its own names with the salt of the list and
compares; who only guesses names pays for every guess.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from cerebench.core.hashing import sha256_bytes

_COST, _BLOCK, _LANES, _LENGTH = 2**14, 8, 1, 16  # 16 MiB and about 50 ms each
_KNOWN = f"scrypt n={_COST} r={_BLOCK} p={_LANES} bytes={_LENGTH}"
_SALT = re.compile(rf"{_KNOWN} salt=([0-9a-f]{{16,128}})")


class UnknownHashes(ValueError):
    """Names were hashed in a way that this version does not know."""


def salt_of(fingerprint: str) -> bytes:
    """Return the salt of a data set's names: another for each, the same in every run."""
    return bytes.fromhex(sha256_bytes(f"names of {fingerprint}".encode()))[:_LENGTH]


def remark(salt: bytes) -> str:
    """Return what stands in the head of a list of hashes.

    Example:
        >>> remark(b"saltsalt")
        'scrypt n=16384 r=8 p=1 bytes=16 salt=73616c7473616c74'
    """
    return f"{_KNOWN} salt={salt.hex()}"


def salt_in(text: str) -> bytes | None:
    """Return the salt of a ``remark``; None where a text is none.

    Raises:
        UnknownHashes: If names were hashed otherwise, as it says.
    """
    if found := _SALT.fullmatch(text.strip()):
        return bytes.fromhex(found[1])
    if text.strip().startswith("scrypt"):
        raise UnknownHashes(f"names hashed by '{text.strip()[:80]}'; this version knows {_KNOWN}")
    return None


def pseudonyms(names: Iterable[str], salt: bytes) -> dict[str, str]:
    """Return the hash of every name, 32 hex digits; an empty one stays empty.

    On all cores, and each name once a process.
    """
    wanted = list(dict.fromkeys(names))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(wanted, pool.map(lambda name: _pseudonym(name, salt), wanted), strict=True))


@cache
def _pseudonym(name: str, salt: bytes) -> str:
    if not name:
        return ""
    data = name.encode("utf-8", "surrogateescape")
    return hashlib.scrypt(data, salt=salt, n=_COST, r=_BLOCK, p=_LANES, dklen=_LENGTH).hex()
