"""Facts about this machine and this installation that records keep."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import time
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

import psutil


def versions() -> dict[str, str]:
    """Return the versions of Python and the packages that numbers depend on."""
    packages = ("cerebench", "torch", "monai", "numpy", "scipy", "nibabel")
    return {"python": platform.python_version(), **{p: version(p) for p in packages}}


@cache
def system_id() -> str:
    """Return 8 hex digits that tell systems apart whose process numbers mean different processes.

    That is a machine since it was started, or a container with process numbers of its own.
    """
    facts = [platform.node()]
    for read in (
        lambda: Path("/proc/sys/kernel/random/boot_id").read_text("ascii"),
        lambda: os.readlink("/proc/self/ns/pid"),
    ):
        try:
            facts.append(read())
        except OSError:  # not Linux
            facts.append("")
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:8]


def is_alive(pid: int) -> bool:
    """Say whether a process of this system has this number."""
    return psutil.pid_exists(pid)


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
