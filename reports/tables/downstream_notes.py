"""The sentences around every table of the downstream protocols: caption, data, what bold means."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from cerebench.reports.formatting import DASH, plain, span
from cerebench.reports.statistics.results import Result
from cerebench.reports.tables.notes import changed_preset, preset_of, versions
from cerebench.reports.values.downstream import ProtocolResults
from cerebench.reports.values.study import Study, unequal


def caption(study: Study, shown: Sequence[Result], *, means: bool = True) -> str:
    """Describe test set, runs, seeds, preset, data and versions of the rows shown.

    Args:
        study: The study.
        shown: Rows of the table.
        means: Whether the table shows means over runs.
    """
    contents = study.experiment.contents
    data, made = contents.dataset, [result for result in shown if result.runs]
    counts = [span(result.of_class()[label] for result in made) for label in (0, 1)]
    classes = ", ".join(f"{n} {c}" for n, c in zip(counts, data.classes, strict=False))
    patients = span(len(set(result.patients)) for result in made)
    seeds = ", ".join(map(str, contents.seeds))
    presets = "; ".join(
        dict.fromkeys(changed_preset(block.preset, block.differences) for block in study.blocks)
    )
    suites = contents.suites
    over = "Mean over" if means else "Each row has"
    error = " ± its standard error, test patients and seeds joined" * means
    parts = [
        f"{data.label}, {data.size} voxels an edge; n = {span(len(r.ids) for r in made)} "
        f"test cases ({classes}) of {patients} patients.",
        f"{over} {span(len(result.runs) for result in made)} runs{error}: repeats of generator "
        f"seed{'s' * (len(contents.seeds) > 1)} {seeds}.",
        f"Positive class {data.classes[-1]}, threshold 0.5{_constant(made)}. Preset of classifiers "
        f"{presets}, of generators {preset_of(contents) or DASH}.",
        f"Suite{'s' * (len(suites) > 1)} {', '.join(suites)}." if suites else "",
        versions(contents),
    ]
    return plain(" ".join(parts))


def _constant(made: Sequence[Result]) -> str:
    """Say the F1 of a classifier that knows nothing and calls every case positive."""
    shares = sorted({ones / (zeros + ones) for zeros, ones in (row.of_class() for row in made)})
    listed = dict.fromkeys(f"{2 * share / (1 + share):.3f}" for share in shares)
    return f"; F1 of calling every case so: {' or '.join(listed)}" * bool(listed)


def data_notes(study: Study, blocks: Iterable[ProtocolResults]) -> Iterator[str]:
    """Yield what stage 1 trained on, and which rows are marked because theirs differs."""
    for block in blocks:
        odd = unequal(study, block)
        usual = [r.data for r in block.results if r.data and r not in odd]
        if usual:
            yield f"{block.label}, stage 1: {usual[0]}."
        for row, data in odd.items():
            yield f"Unequal data: {row.label} in {block.label} trained stage 1 on {data}."


def bold(study: Study) -> str:
    """Say what bold means and when there is none."""
    if study.banner:
        return "Nothing is bold: see the warning on top."
    return (
        "Bold: better than every other row, each at p < 0.05 by the test of generators (seeds and "
        "patients); of equal rows, two or seven, one is bold in at most 5 % of columns. Rows with "
        "a mark, or with a run that predicts one class, do not compete. No bold where that is not "
        "shown."
    )
