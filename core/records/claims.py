"""The file that says which process works on a stage."""

from __future__ import annotations

from dataclasses import dataclass

from cerebench.core.records.base import Count, File, Place, Utc


@dataclass(frozen=True, kw_only=True)
class Claim(File):
    """A stage that a process works on; the file is gone when it ends.

    Attributes:
        record: Record of the stage, relative to the data set's folder.
        id: Unique to this claim.
        host: Name of the computer, for people.
        machine: Start of the computer and namespace of process numbers: where ``pid`` counts.
        pid: Process number.
        began: When the process began, in the units of its computer: numbers are used again.
        utc: When it was claimed.
    """

    kind = "claim"

    record: Place
    id: str
    host: str
    machine: str
    pid: Count
    began: str
    utc: Utc
