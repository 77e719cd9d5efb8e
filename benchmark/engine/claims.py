"""Who works on what: a stage is claimed by one process at a time, on one computer or on several.

A claim is a file ``.claims/<stage>.<generation>`` in the data set's folder. Who creates it owns the
stage; a file system creates a name once, also one on a network. A claim is void when its process
is dead, which processes of one computer see at once; those of other computers see that its time
stamp, which the owner renews, has grown old by the clock of the file server. Who takes over creates
the next generation and removes nothing before, so that of two who try one gets it; then looks
again: where a claim has appeared that was not there before, both step back and try once more.
An owner that has been taken for dead finds its claim gone or a higher one, and publishes nothing.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import random
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from cerebench.benchmark.engine import store
from cerebench.core import machine
from cerebench.core.files import json_bytes, sweep
from cerebench.core.hashing import sha256_bytes
from cerebench.core.records.base import Misfit
from cerebench.core.records.claims import Claim
from cerebench.core.records.files import dump, parse

FOLDER = ".claims"
HEARTBEAT = 30.0  # seconds between two renewals
POLL = 0.5  # seconds between two looks at what other processes work on
STALE = 300.0  # seconds without one after which an owner on another computer counts as dead


class Claims:
    """The stages that this process works on in a data set's folder; a context that frees them.

    Args:
        folder: The data set's folder.
        heartbeat: Seconds between two renewals.
        stale: Seconds without renewal after which a claim of another computer is void.
    """

    def __init__(self, folder: Path, heartbeat: float = HEARTBEAT, stale: float = STALE) -> None:
        self._folder, self._heartbeat, self._stale = folder / FOLDER, heartbeat, stale
        self._mine: dict[Path, _Own] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._beat = threading.Thread(target=self._renew, name="claims", daemon=True)

    def __enter__(self) -> Claims:
        self._beat.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._beat.join()
        for record in list(self._mine):
            self.free(record)
        self._tidy()
        with suppress(OSError):  # others are still at work
            self._folder.rmdir()

    def take(self, record: Path) -> Claim | None:
        """Claim the stage of a record.

        Args:
            record: The record, relative to the data set's folder.

        Returns:
            None if it is this process's now, else the claim of the process that works on it.
        """
        stem = _stem(record)
        while True:
            there = self._claims(stem)
            if owner := next((c for c in there.values() if not self._void(c)), None):
                return dataclasses.replace(owner.claim, record=record.as_posix())
            own = self._create(stem, max(there, default=-1) + 1, record)
            if own is None:  # another was faster
                continue
            known = {found.claim.id for found in there.values()}
            after = self._claims(stem)
            strangers = {found.claim.id for found in after.values()} - known - {own.id}
            if not strangers and own.generation == max(after, default=-1):
                for found in there.values():
                    found.path.unlink(missing_ok=True)
                with self._lock:
                    self._mine[record] = own
                return None
            own.path.unlink(missing_ok=True)
            time.sleep(random.uniform(0.0, 0.1))

    def free(self, record: Path) -> None:
        """Give a stage back."""
        with self._lock:
            own = self._mine.pop(record, None)
        if own is not None and own.holds():
            own.path.unlink(missing_ok=True)

    def held(self, record: Path) -> bool:
        """Say whether a stage that this process took is still its own."""
        own = self._mine.get(record)
        if own is None or own.lost or not own.holds():
            return False
        return max(self._claims(own.stem), default=-1) == own.generation

    def taken(self, claim: Claim) -> bool:
        """Say whether the claim of another process is still there and not void."""
        there = self._claims(_stem(Path(claim.record))).values()
        return any(f.claim.id == claim.id and not self._void(f) for f in there)

    def lost(self) -> bool:
        """Say whether a stage was taken over since the last renewal; costs nothing."""
        return any(own.lost for own in list(self._mine.values()))

    def others(self) -> Iterator[Claim]:
        """Yield the claims of other processes that are not void."""
        ids = {own.id for own in list(self._mine.values())}
        for path in sorted(self._folder.glob("[!.]*")):
            found = _Found.read(path)
            if found and found.claim.id not in ids and not self._void(found):
                yield found.claim

    def _tidy(self) -> None:
        """Remove what dead processes have left of stages that nobody takes again."""
        sweep(self._folder, below=False)
        for path in self._folder.glob("[!.]*"):
            found = _Found.read(path)
            if found is None or not self._void(found):
                continue
            record = Path(found.claim.record)
            if _stem(record) != path.stem:  # half written
                path.unlink(missing_ok=True)
            elif self.take(record) is None:
                self.free(record)

    def _hidden(self) -> Path:
        """Return a name for a temporary file, by which ``sweep`` knows whose it is."""
        return self._folder / f".claim.json.{machine.mark()}-{os.getpid()}-{uuid.uuid4().hex}.part"

    def _claims(self, stem: str) -> dict[int, _Found]:
        """Return the claims of a stage by generation, the highest first."""
        try:
            names = [e.name for e in os.scandir(self._folder) if e.name.startswith(f"{stem}.")]
        except FileNotFoundError:
            return {}
        numbers = sorted((int(n.rpartition(".")[2]) for n in names), reverse=True)
        found = {g: _Found.read(self._folder / f"{stem}.{g}") for g in numbers}
        return {g: each for g, each in found.items() if each is not None}

    def _create(self, stem: str, generation: int, record: Path) -> _Own | None:
        """Create a claim with its content in one step; None if its name is taken."""
        pid = os.getpid()
        claim = Claim(
            record=record.as_posix(),
            id=uuid.uuid4().hex,
            host=platform.node(),
            machine=machine.system(),
            pid=pid,
            began=machine.began(pid),
            utc=store.now(),
        )
        path = self._folder / f"{stem}.{generation}"
        written, content = self._hidden(), json_bytes(dump(claim))
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            written.write_bytes(content)
            _link(written, path, content)
        except (FileExistsError, FileNotFoundError):  # the folder went with another's last claim
            return None
        finally:
            written.unlink(missing_ok=True)
        return _Own(path, stem, generation, claim.id)

    def _void(self, found: _Found) -> bool:
        """Say whether the owner of a claim is dead."""
        claim = found.claim
        here = machine.lives(claim.machine, claim.pid, claim.began)
        if here is not None:
            return not here
        return self._server_time() - found.renewed > self._stale

    def _server_time(self) -> float:
        """Return the time of the computer that holds the files; those of clients differ."""
        probe = self._hidden()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            probe.touch()
            return probe.stat().st_mtime
        finally:
            probe.unlink(missing_ok=True)

    def _renew(self) -> None:
        """Renew the time stamps, until the end; note what was taken over."""
        while not self._over.wait(self._heartbeat):
            with self._lock:
                claims = list(self._mine.values())
            for own in claims:
                try:
                    own.lost = own.lost or not own.holds()
                    if not own.lost:
                        os.utime(own.path)  # without times: the server's clock
                except FileNotFoundError:
                    own.lost = True
                except OSError:  # a network that is away for a while
                    pass


def told(claims: Sequence[Claim]) -> str:
    """Say what is waited for: stages and processes, of many the first."""
    first, *others = dict.fromkeys(
        (c.host, c.pid, Path(c.record).parent.as_posix()) for c in claims
    )
    host, pid, place = first
    where = f"process {pid}" if pid else "a process"
    where += f" on {host}" * (host not in ("", platform.node()))
    return f"{place} ({where})" + f" and {len(others)} more" * bool(others)


def _stem(record: Path) -> str:
    """Return how the claims of a record are named."""
    return sha256_bytes(record.as_posix().encode())[:24]


def _link(written: Path, path: Path, content: bytes) -> None:
    """Give a written file a name that must be free.

    Raises:
        FileExistsError: If it is not.
    """
    try:
        os.link(written, path)
    except (FileExistsError, FileNotFoundError):
        raise
    except OSError:  # a file system without links: two steps, of which the first decides
        with path.open("xb") as file:
            file.write(content)


class _Found:
    """A claim file: what it holds, and when it was renewed."""

    def __init__(self, path: Path, claim: Claim, renewed: float) -> None:
        self.path, self.claim, self.renewed = path, claim, renewed

    @classmethod
    def read(cls, path: Path) -> _Found | None:
        try:
            with path.open("rb") as file:  # opened: a network file system asks its server anew
                data, renewed = file.read(), os.fstat(file.fileno()).st_mtime
        except (FileNotFoundError, IsADirectoryError):
            return None
        try:
            return cls(path, parse(Claim, data, path)[1], renewed)
        except Misfit:  # half written, by whom is not known: nobody lives or is dead by it
            nobody = {"host": "", "machine": "", "pid": 0, "began": "", "utc": ""}
            return cls(path, Claim(record=path.name, id=path.name, **nobody), renewed)


class _Own:
    """A claim of this process."""

    def __init__(self, path: Path, stem: str, generation: int, id: str) -> None:
        self.path, self.stem, self.generation, self.id = path, stem, generation, id
        self.lost = False

    def holds(self) -> bool:
        """Say whether the file is still there and this process's."""
        found = _Found.read(self.path)
        return found is not None and found.claim.id == self.id
