"""Which process this is, and whether another of this computer still lives."""

from __future__ import annotations

import hashlib
import os
import platform
from functools import cache
from pathlib import Path

import psutil

_DEAD = "ZX"  # states in /proc/<pid>/stat: ended, but not yet collected by its parent


@cache
def machine() -> str:
    """Return what is equal for processes that see each other's numbers, until a restart.

    Containers on one computer may have one host name and numbers of their own.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return f"{platform.node()} {psutil.boot_time():.0f}"


@cache
def mark() -> str:
    """Return 8 hex digits of ``machine``, for names of files."""
    return hashlib.sha256(machine().encode()).hexdigest()[:8]


def began(pid: int) -> str:
    """Return when a process of this computer began; empty where it has ended.

    On Linux in clock ticks since the start of the computer, which a change of its clock leaves.
    """
    if Path("/proc/self/stat").exists():
        try:
            text = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return ""
        state, *fields = text.rpartition(")")[2].split()
        return "" if state in _DEAD else fields[18]
    try:
        process = psutil.Process(pid)
        ended = process.status() == psutil.STATUS_ZOMBIE
        return "" if ended else f"{process.create_time():.2f}"
    except psutil.Error:
        return ""


def lives(place: str, pid: int, since: str) -> bool | None:
    """Say whether a process lives; None where nobody here can know.

    Args:
        place: Its ``machine``.
        pid: Its number.
        since: When it ``began``.
    """
    return began(pid) == since if place == machine() else None
