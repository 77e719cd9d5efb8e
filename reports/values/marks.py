"""What a row is marked with: a small preset did not bring it to structured samples, or it copies.

Small presets show in minutes that a method works. Their samples shall be visibly structured, which
recorded scores tell: radiomic features closer to the real ones than those of noise and of blurred
volumes, volumes about as alike as real ones. A method that misses a part of this in any class is
marked; its numbers say how little it was trained, not how good it is. Larger presets are
never marked so: there a bad number is a result. Copies are marked at every preset, and in folders
of samples (``cerebench.reports.values.copying``), and so is another number of volumes than most
rows have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from cerebench.core.records.contents import Contents
from cerebench.core.records.rows import CONTROL_KIND
from cerebench.core.settings import BELOW_PAPER
from cerebench.reports.formatting import number
from cerebench.reports.values.copying import copying
from cerebench.reports.values.labels import row_labels
from cerebench.reports.values.summary import Summary, summarise
from cerebench.reports.values.tidy import Value

UNDER_TRAINED, COPYING, UNEQUAL = "under-trained", "copying", "unequal n"
DISTANCE, SIMILARITY = "fd-radlite-v2", "ms-ssim"
WORSE = ("noise", "blur-1", "untrained")  # controls that structured samples leave behind
LARGEST_GAP = 0.10  # of the mean MS-SSIM of pairs, to that of real pairs


class Reason(str):
    """Why a row has a mark: a whole clause with its numbers, and ``brief`` in five words."""

    brief: str

    def __new__(cls, whole: str, brief: str) -> Reason:
        """Make a reason of both."""
        reason = super().__new__(cls, whole)
        reason.brief = brief
        return reason


def marks(contents: Contents, values: Sequence[Value]) -> dict[int, dict[str, list[Reason]]]:
    """Judge rows of generated volumes by their recorded scores, means over seeds.

    Args:
        contents: Table of contents.
        values: Values of the experiment, controls included; what is missing is not judged.

    Returns:
        Row to mark to reasons, one a class and part of the bar; rows without a mark are left out.
    """
    cells: dict[tuple[str, str], dict[int, list[Value]]] = {}
    for value in values:
        if value.metric in (DISTANCE, SIMILARITY):
            cells.setdefault((value.metric, value.class_), {}).setdefault(value.row, []).append(
                value
            )
    marked: dict[int, dict[str, list[Reason]]] = {}
    for (metric, class_), of_rows in cells.items():
        summaries = {row: s for row, seeds in of_rows.items() if (s := summarise(seeds))}
        controls = {
            contents.rows[row].label: s
            for row, s in summaries.items()
            if contents.rows[row].kind == CONTROL_KIND and contents.rows[row].name in WORSE
        }
        for row, summary in summaries.items():
            declared = contents.rows[row]
            if declared.kind == "method" and declared.preset in BELOW_PAPER:
                for mark, reason in _faults(metric, class_, summary, controls):
                    marked.setdefault(row, {}).setdefault(mark, []).append(reason)
    for row, reasons in copying(contents, values).items():
        brief = "copies of training cases"
        marked.setdefault(row, {})[COPYING] = [Reason(text, brief) for text in reasons]
    for row, reasons in _unequal(values).items():
        marked.setdefault(row, {})[UNEQUAL] = reasons
    return marked


def _unequal(values: Sequence[Value]) -> dict[int, list[Reason]]:
    """Find rows that were scored on other numbers of volumes than most, of equally many the more.

    More volumes lower a Fréchet distance and every error, so such rows do not compare.
    """
    counts: dict[tuple[str, str], dict[int, tuple[int, int]]] = {}
    for v in values:
        if v.kind != CONTROL_KIND and v.better and v.n_generated and v.n_real:
            of_metric = counts.setdefault((v.metric, v.class_), {})
            least = of_metric.get(v.row, (v.n_generated, v.n_real))
            of_metric[v.row] = min(least, (v.n_generated, v.n_real))
    found: dict[int, dict[str, Reason]] = {}
    for (_, class_), rows in counts.items():
        amounts = list(rows.values())
        usual = max(amounts, key=lambda amount: (amounts.count(amount), amount))
        for row, amount in rows.items():
            if amount != usual:
                (made, real), (others, others_real) = amount, usual
                against = f" against {real} and {others_real} real ones" * (real != others_real)
                text = f"{made} {class_} volumes where other rows have {others}{against}"
                brief = f"{made} volumes, others {others}"
                found.setdefault(row, {})[text] = Reason(text, brief)
    return {row: list(reasons.values()) for row, reasons in found.items()}


def _faults(
    metric: str, class_: str, summary: Summary, controls: Mapping[str, Summary]
) -> Iterator[tuple[str, Reason]]:
    """Yield a mark and its reason for each part of the bar that a value misses."""
    measured = f"{metric} {number(summary.value)} ({class_})"
    if metric == DISTANCE:
        for label, control in controls.items():
            if summary.value >= control.value:
                bar = f"is not below that of control '{label}' ({number(control.value)})"
                yield UNDER_TRAINED, Reason(f"{measured} {bar}", f"no nearer than '{label}'")
    elif summary.difference is not None and summary.difference > LARGEST_GAP:
        gap = f"is {number(summary.difference)} from that of real volumes"
        above = summary.value > (summary.real_value or 0)
        alike = "volumes too alike" if above else "volumes too unlike"
        yield UNDER_TRAINED, Reason(f"{measured} {gap}, over {LARGEST_GAP:g}", alike)


def marked_label(label: str, marks: Mapping[str, Sequence[str]]) -> str:
    """Return a row's label with its marks behind it: '3D-DDPM (under-trained)'."""
    return f"{label} ({', '.join(marks)})" if marks else label


def marked_labels(
    contents: Contents, marked: Mapping[int, Mapping[str, Sequence[str]]]
) -> list[str]:
    """Return one label a row with its marks behind it.

    Args:
        contents: Table of contents.
        marked: Row to its marks, as from ``marks``.
    """
    labels = row_labels(contents.rows)
    return [marked_label(label, marked.get(row, {})) for row, label in enumerate(labels)]


def explanation(marks: Mapping[str, Sequence[str]]) -> str:
    """Return marks with their reasons in one line: 'under-trained: a; b'."""
    return "; ".join(f"{mark}: {'; '.join(reasons)}" for mark, reasons in marks.items())


def brief(marks: Mapping[str, Sequence[Reason]]) -> str:
    """Return marks with their reasons in a few words: 'under-trained: too alike'."""
    short = {
        mark: dict.fromkeys(reason.brief for reason in reasons) for mark, reasons in marks.items()
    }
    return "; ".join(f"{mark}: {', '.join(reasons)}" for mark, reasons in short.items())
