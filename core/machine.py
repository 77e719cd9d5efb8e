"""Facts about this machine, its processes and this installation that records keep."""

from __future__ import annotations

import hashlib
import os
import platform
import signal
import subprocess
import time
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

import psutil

# Signals that ask to stop: Ctrl-C, a scheduler, a terminal that has gone, a scheduler's notice.
STOPPING = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
    if hasattr(signal, name)  # Windows lacks the last two
)
_DEAD = "ZX"  # states in /proc/<pid>/stat: ended, but not yet collected by its parent


def versions() -> dict[str, str]:
    """Return the versions of Python and the packages that numbers depend on."""
    packages = ("cerebench", "torch", "monai", "numpy", "scipy", "nibabel")
    return {"python": platform.python_version(), **{p: version(p) for p in packages}}


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class CpuTime:
    """CPU time since a start that is the same for all readings of this process, s.

    Attributes:
        own: Of this process, all threads together.
        others: Of everything else on the cores that this process may use; None where the system
            does not tell. It is exact to a few hundredths of a second.
    """

    own: float
    others: float | None


def cpu_time() -> CpuTime:
    """Read how much CPU time this process and all others have used."""
    own, each = time.process_time(), psutil.cpu_times(percpu=True)
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(len(each))
    if not each or max(usable) >= len(each):  # a container that hides its cores, or renumbers them
        return CpuTime(own, None)
    # Of idle or waiting nobody takes anything; what a host takes from a virtual machine is stolen.
    names = ("user", "nice", "system", "irq", "softirq", "steal")
    used = sum(getattr(each[core], name, 0.0) for core in usable for name in names)
    return CpuTime(own, used - own)


def cpu_name() -> str:
    """Return the processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")), "")


def commit() -> str | None:
    """Return the commit of a source checkout, ``+changes`` when it is dirty, else None."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True)
        state = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True)
    except OSError:
        return None
    if head.returncode:
        return None
    return head.stdout.strip() + ("+changes" if state.stdout.strip() else "")


@cache
def system() -> str:
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
    """Return 8 hex digits of ``system``, for names of files."""
    return hashlib.sha256(system().encode()).hexdigest()[:8]


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
        place: Its ``system``.
        pid: Its number.
        since: When it ``began``.
    """
    return began(pid) == since if place == system() else None
