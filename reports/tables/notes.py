"""The sentences around a table: caption, how to read it, and the recipes behind it."""

from __future__ import annotations

import json
from collections.abc import Container, Iterator, Mapping, Sequence, Set
from statistics import fmean

from cerebench.core.facts import (
    ABSENT,
    PERMUTATION_P,
    RULING,
    RULING_FEATURE,
    RULING_MEANS,
    RULING_SHARE,
    WELCH_P,
    Fact,
    is_number,
    of,
)
from cerebench.core.records.contents import Contents, MetricEntry
from cerebench.core.records.rows import CONTROL_KIND, Difference, RowEntry
from cerebench.core.settings import BY_USER
from cerebench.core.statistics import holm
from cerebench.reports.base import left_out
from cerebench.reports.formatting import number, plain, span, units
from cerebench.reports.spoiled import spoiled
from cerebench.reports.statistics.contrast import LEAST_SEEDS
from cerebench.reports.values import floor, load
from cerebench.reports.values.labels import legends, powers_of_ten
from cerebench.reports.values.summary import Summary, is_p, ranks, summarise
from cerebench.reports.values.tidy import NOT_RUN, OK, Value

CLIPPED = 1e-3  # fraction of voxels outside [-1, 1] above which a reader must know
BOLD = "Bold: better than every other row, each at p < 0.05; rows with a mark do not compete."
_HEADERS = {
    "image": "Axes: the header of a case's first image was taken for all its files (--same-axes).",
    "own": "Axes: each file was turned by its own header, though they differ (--trust-headers).",
}
ALIKE = 0.02  # excess of MS-SSIM over the real set's that is worth a note
LEAST_ROWS = 2  # that compete for a column
DISAGREEMENT = 3  # places between two rankings that are worth a note


def caption(contents: Contents, values: Sequence[Value]) -> str:
    """Describe dataset, n, preset, seeds and the meaning of ±; versions last."""
    data = contents.dataset
    scored = [
        v for v in values if v.kind != CONTROL_KIND and v.status == OK and v.n_real is not None
    ]
    n_real = span(v.n_real for v in scored if v.n_real is not None)
    n_generated = span(v.n_generated for v in scored if v.n_generated is not None)
    edges = sorted({f"{edge:g}" for edge in data.spacing})
    shape = data.shape or (data.size,) * 3
    size = f"{shape[0]}³" if len(set(shape)) == 1 else " × ".join(map(str, shape))
    return (
        f"{data.label}, {size} voxels of {'–'.join(edges)} mm, "
        f"{', '.join(data.channels)}; per class n = {n_real} real and {n_generated} generated"
        f"{''.join(f'; {part}' for part in [*_trained(contents), *_suites(contents)])}. "
        f"{_meaning(contents, values)} {versions(contents)}"
    )


def provenance(contents: Contents) -> str:
    """Say in one line where a figure comes from: data, size, preset, seeds, versions."""
    data = contents.dataset
    parts = [f"{data.label}, {data.size} voxels an edge", *_trained(contents)]
    return plain(f"{'; '.join(parts)}. {versions(contents)}")


def versions(contents: Contents) -> str:
    """Say which data and which version of the program made the numbers."""
    fingerprint = contents.dataset.fingerprint[:8]
    short = f" ({missing} cases left out as unusable)" if (missing := left_out(contents)) else ""
    return f"Dataset fingerprint {fingerprint}{short}, Cerebench {contents.suite_version}."


def of_data(contents: Contents) -> Iterator[str]:
    """Yield what was decided about real cases that are not as they should be; no case is named."""
    cases = contents.dataset.left_out
    if cases:
        more = len(cases.others)
        besides = f", besides {more} that are no cases (files, folders, table rows)" if more else ""
        yield (
            f"{left_out(contents)} cases were left out because they cannot be used "
            f"(--skip-bad){besides}; the table of contents names each with its reasons."
        )
    headers = contents.dataset.recipe.settings.get("headers")
    if headers in _HEADERS:
        yield _HEADERS[headers]


def _trained(contents: Contents) -> list[str]:
    """Say preset and seeds, if anything was trained."""
    if not contents.preset:
        return []
    seeds = ", ".join(str(seed) for seed in contents.seeds)
    return [f"preset {preset_of(contents)}", f"seed{'s' * (len(contents.seeds) > 1)} {seeds}"]


def preset_of(contents: Contents) -> str:
    """Return the preset of the methods, and what a user changed in it; empty without methods."""
    rows = [row for row in contents.rows if row.kind == "method"]
    changes = {plain(row.label): changed_preset("", row.differences) for row in rows}
    if len(set(changes.values())) < 2:
        return contents.preset + next(iter(changes.values()), "")
    listed = "; ".join(label + change for label, change in changes.items() if change)
    return f"{contents.preset} ({listed})"


def changed_preset(preset: str, differences: Sequence[Difference]) -> str:
    """Return the name of a preset, and which of its settings a user has changed to what.

    A preset with other settings is not that preset: its name alone would promise the paper's.
    """
    parts = [f"{d.setting} {plain(d.value)}" for d in differences if d.source == BY_USER]
    return f"{preset} with {', '.join(parts)}" if parts else preset


def _suites(contents: Contents) -> list[str]:
    suites = contents.suites
    return [f"suite{'s' * (len(suites) > 1)} {', '.join(suites)}"] * bool(suites)


def _meaning(contents: Contents, values: Sequence[Value]) -> str:
    made = dict.fromkeys(v.uncertainty for v in values if v.se is not None and v.uncertainty)
    how = next(iter(made)) if len(made) == 1 else "as the recipe of each column says"
    seeds = len(contents.seeds)
    if seeds < 2:
        return f"±: standard error over volumes ({how})." if made else "No uncertainties."
    return (
        f"Mean over {seeds} seeds ± its standard error, volumes ({how}) and seeds joined; "
        "in rows without seeds (real sets, folders of samples) over volumes alone."
    )


def bold(contents: Contents, *, whole: bool = True) -> str:
    """Say what bold means and when there is none; ``whole``: with the test behind it."""
    if contents.banner:
        return "Nothing is bold: see the warning on top."
    if sum(row.kind != CONTROL_KIND for row in contents.rows) < LEAST_ROWS:
        return "Nothing is bold: there is no other row to be better than."
    if not whole:
        return BOLD
    return (
        "Bold: better than every other row, each at p < 0.05 (two-sided t, seeds and volumes "
        "joined, the volumes of the real set in common); of equal rows, two or seven, one is bold "
        "in at most 5 % of columns. Rows with a mark do not compete. No bold where that is not "
        f"shown, or where a method has fewer than {LEAST_SEEDS} seeds."
    )


def left_aside(contents: Contents) -> str:
    """Say what ± leaves out."""
    one = len(contents.seeds) < 2 and bool(contents.preset)
    return (
        "± leaves out that real cases of other hospitals give other values, and that a Fréchet "
        "distance of few volumes lies above that of many"
        + ("; with one seed also what another training would give." if one else ".")
        + " [from, to]: value − and + its error, where that would leave the range of the score."
    )


def reading(
    contents: Contents, values: Sequence[Value], labels: Sequence[str], *, whole: bool = True
) -> Iterator[str]:
    """Yield what a reader must know to read the table, warnings included.

    Args:
        contents: Table of contents.
        values: Values of the rows shown, as recorded.
        labels: One a row.
        whole: Whether to explain errors and floors and print what metrics left to read; else only
            what stands in the way of reading the numbers as they are.
    """
    yield _arrows(contents)
    yield from legends(contents.metrics)
    if powers := powers_of_ten(contents.metrics):
        yield powers
    yield bold(contents, whole=whole)
    yield from _errors(contents, values) if whole else _ratios(contents)
    yield from _never_bold(contents)
    yield from _lacking(contents)
    if any(v.status == NOT_RUN == v.reason for v in values):
        yield (
            "Not run: repeat the bench run command, which runs only what is missing; that may be "
            "scores whose recipe a new version has changed."
        )
    yield from of_data(contents)
    if whole:
        yield from _short_floor(contents, values, labels)
    yield from _below_floor(contents, values, labels)
    yield from _contradictions(contents, values, labels)
    yield from _collapse(contents, values, labels)
    yield from _ruled(contents, values, labels)
    yield from spoiled(values, labels, contents.dataset.size)
    yield from _clipping(values, labels)
    yield from _load(values, labels)
    if whole:
        yield from _equal_means(contents, values, labels)
    lacking = [v for v in values if any(n for _, n in of(v.facts or {}, ABSENT))]
    yield from _measured(contents, values if whole else lacking, labels)


def _arrows(contents: Contents) -> str:
    near = any(m.better == "near-real" and not m.unavailable for m in contents.metrics)
    return "↓ lower is better, ↑ higher is better" + (
        "; → real: best when closest to the value behind →, which is that of the real set; in "
        "parentheses the distance to it."
        if near
        else "."
    )


def _ratios(contents: Contents) -> Iterator[str]:
    """Say in a few words what a column of ratios is."""
    if any(metric.as_ratio and not metric.unavailable for metric in contents.metrics):
        yield "× real: 1 is as good as other real volumes."


def never_bold(metric: MetricEntry) -> str:
    """Say that no value of a metric is marked as the best, and why.

    What a metric is blind to is recorded as a sentence about it, "It rewards …", or as a list.
    """
    why = metric.blind_to
    sentence = why.casefold().startswith("it ")
    reason = f"{why[0].lower()}{why[1:]}" if sentence else f"it is blind to {why}"
    return f"{metric.label} is never bold: {reason}" if why else f"{metric.label} is never bold."


def _never_bold(contents: Contents) -> Iterator[str]:
    for metric in contents.metrics:
        if metric.never_bold and not metric.unavailable:
            yield never_bold(metric)


def _lacking(contents: Contents) -> Iterator[str]:
    """Say which metrics could not be computed at all, and why."""
    lacking: dict[str, list[str]] = {}
    for metric in contents.metrics:
        if metric.unavailable:
            lacking.setdefault(metric.unavailable, []).append(metric.label)
    for reason, names in lacking.items():
        yield f"Not computed: {', '.join(names)}: {reason}"


def _errors(contents: Contents, values: Sequence[Value]) -> Iterator[str]:
    """Yield what errors, p-values and floors are, and what they leave out."""
    if any(v.se is not None for v in values):
        yield left_aside(contents)
    if len(contents.seeds) > 1 and any(_has_p(v) for v in values):
        yield "A p-value of several seeds is the largest of them: it says it of every training."
    yield from floor.notes(contents, values)
    yield from floor.of_sites(contents, values)


def _has_p(value: Value) -> bool:
    """Tell whether a cell shows a p-value."""
    recorded = PERMUTATION_P in (value.facts or {})
    return value.status == OK and (recorded or is_p(value.view))


def _ranked(values: Sequence[Value]) -> dict[tuple[str, str, str], dict[int, Summary]]:
    """Summaries of all rows by (class, metric, view)."""
    cells: dict[tuple[str, str, str], dict[int, list[Value]]] = {}
    for v in values:
        if v.better:
            place = cells.setdefault((v.class_, v.metric, v.view), {})
            place.setdefault(v.row, []).append(v)
    return {
        place: {row: s for row, seeds in rows.items() if (s := summarise(seeds)) is not None}
        for place, rows in cells.items()
    }


def _short_floor(
    contents: Contents, values: Sequence[Value], labels: Sequence[str]
) -> Iterator[str]:
    """Say where a floor has fewer volumes than the methods, so that it is none for them."""
    asked = contents.samples_per_class
    short: dict[int, dict[str, int]] = {}
    for v in values:
        if v.role == "floor" and v.status == OK and v.n_generated and v.n_generated < asked:
            short.setdefault(v.row, {})[v.class_] = v.n_generated
    for row, counts in short.items():
        listed = ", ".join(f"{n} of {class_}" for class_, n in counts.items())
        yield (
            f"{labels[row]}: only {listed}, where methods have {asked}. Fewer volumes raise a "
            "Fréchet distance, so this row is no floor for the raw distances of others; ratios to "
            "real draws (× real) are of equal numbers, and kernel distances and MMD linear are "
            "unbiased."
        )


def _below_floor(
    contents: Contents, values: Sequence[Value], labels: Sequence[str]
) -> Iterator[str]:
    rows = contents.rows
    titles = {metric.name: metric.label for metric in contents.metrics}
    families = {metric.name: metric.family for metric in contents.metrics}
    equal = {v.row for v in values if v.n_generated == contents.samples_per_class}
    below: dict[int, dict[str, None]] = {}
    for (class_, metric, _), summaries in _ranked(values).items():
        floors = [s.value for i, s in summaries.items() if rows[i].role == "floor" and i in equal]
        if families.get(metric) != "frechet" or not floors:
            continue
        for row, summary in summaries.items():
            if rows[row].kind != CONTROL_KIND and summary.value < min(floors):
                below.setdefault(row, {})[f"{titles[metric]} of {class_}"] = None
    for row, places in below.items():
        yield (
            f"{labels[row]} lies below the real-vs-real floor in {', '.join(places)}: with few "
            "volumes too little spread lowers a Fréchet distance, and so does copying; see recall, "
            "kernel distances and what looks for copies."
        )


def _contradictions(
    contents: Contents, values: Sequence[Value], labels: Sequence[str]
) -> Iterator[str]:
    rows, ranked = contents.rows, _ranked(values)
    usable = [metric for metric in contents.metrics if not metric.unavailable]
    first = {metric.family: metric.name for metric in reversed(usable)}
    mmd, ssim = first.get("mmd", ""), first.get("ms-ssim", "")
    places = []
    for class_ in contents.dataset.classes:
        one, other = (
            ranks(
                {
                    i: s
                    for i, s in ranked.get((class_, name, ""), {}).items()
                    if rows[i].kind != CONTROL_KIND
                }
            )
            for name in (mmd, ssim)
        )
        for row in one:
            if row in other and abs(one[row] - other[row]) >= DISAGREEMENT:
                places.append(f"{labels[row]} ({class_}) {one[row]} and {other[row]} of {len(one)}")
    if places:
        yield (
            f"Similarity of means and diversity disagree. Places by {mmd} and by distance to the "
            f"real {ssim}: {'; '.join(places)}."
        )


def _collapse(contents: Contents, values: Sequence[Value], labels: Sequence[str]) -> Iterator[str]:
    """Name methods whose MMD is good because their volumes are all alike."""
    rows, ranked = contents.rows, _ranked(values)
    alike: dict[int, list[str]] = {}
    for class_ in contents.dataset.classes:
        mmd = ranked.get((class_, "mmd2-kwon", ""), {})
        floors = [s.value for i, s in mmd.items() if rows[i].role == "floor"]
        for row, summary in ranked.get((class_, "ms-ssim", ""), {}).items():
            if rows[row].kind == CONTROL_KIND or row not in mmd or not floors:
                continue
            excess = summary.value - (summary.real_value or summary.value)
            if mmd[row].value < min(floors) and excess > max(3 * (summary.error or 0), ALIKE):
                alike.setdefault(row, []).append(f"{class_} {number(excess)}")
    if alike:
        named = "; ".join(f"{labels[row]} {', '.join(where)}" for row, where in alike.items())
        yield (
            "A lower mmd2-kwon than real volumes have, from volumes that resemble each other more "
            f"than real ones do (excess of ms-ssim): {named}. That is what collapse looks like, "
            "which this MMD rewards."
        )


def _ruled(contents: Contents, values: Sequence[Value], labels: Sequence[str]) -> Iterator[str]:
    """Name the methods whose Fréchet distance is mostly that of one feature."""
    for metric in contents.metrics:
        largest: dict[tuple[str, int, str], tuple[float, str]] = {}
        for v in values:
            facts = v.facts or {}
            share = facts.get(RULING_SHARE)
            if v.metric == metric.name and v.kind != CONTROL_KIND and is_number(share):
                place = (str(facts.get(RULING_FEATURE, "without a name")), v.row, v.class_)
                largest[place] = max(largest.get(place, (0.0, "")), (share, _means(facts)))
        ruled: dict[str, list[str]] = {}
        for (feature, row, class_), (share, means) in largest.items():
            ruled.setdefault(feature, []).append(f"{labels[row]} {share:.2f} of {class_}{means}")
        for feature, where in ruled.items():
            yield (
                f"{metric.label} is mostly the distance of one feature, '{feature}'; its share, "
                f"largest of all seeds: {'; '.join(where)}."
            )


def _means(facts: Mapping[str, Fact | None]) -> str:
    """Give both means of a ruling feature in brackets; empty where they were not recorded."""
    recorded = [facts.get(name) for names in RULING_MEANS.values() for name in names]
    means = [value for value in recorded if is_number(value)]
    if len(means) < len(recorded):
        return ""
    mean, sd, real_mean, real_sd = means
    return f" (generated mean {mean:.4g} ± {sd:.2g}, real {real_mean:.4g} ± {real_sd:.2g})"


def _equal_means(
    contents: Contents, values: Sequence[Value], labels: Sequence[str]
) -> Iterator[str]:
    """Give the p-values of equal mean volumes, corrected for structures and classes of a row."""
    for metric in contents.metrics:
        families: dict[tuple[int, int | None], dict[str, float]] = {}
        for v in values:
            if v.metric == metric.name and v.kind != CONTROL_KIND:
                for part, p in of(v.facts or {}, WELCH_P):
                    if 0 <= p <= 1:  # what else a plugin calls so is seen among the ranges
                        place = " ".join(filter(None, (part, v.class_)))
                        families.setdefault((v.row, v.seed), {})[place] = p
        tests = max(map(len, families.values()), default=0)
        if tests < 2:
            continue
        largest: dict[int, dict[str, float]] = {}
        for (row, _), ps in families.items():
            of_row = largest.setdefault(row, {})
            for place, p in zip(ps, holm(list(ps.values())), strict=True):
                of_row[place] = max(p, of_row.get(place, 0.0))
        listed = "; ".join(
            f"{labels[row]} {', '.join(f'{place} {number(p)}' for place, p in ps.items())}"
            for row, ps in largest.items()
        )
        yield (
            f"{metric.label}: p of equal means (Welch, two-sided), Holm over the {tests} tests "
            f"of a row, largest of all seeds: {listed}. A large p is no evidence of equality; "
            "TOST p is."
        )


def _clipping(values: Sequence[Value], labels: Sequence[str]) -> Iterator[str]:
    amounts: dict[tuple[int, str], dict[str, list[float]]] = {}
    for v in values:
        if v.metric in ("clip-fraction", "foreground") and v.value is not None:
            of_class = amounts.setdefault((v.row, v.class_), {})
            of_class.setdefault(v.metric, []).append(v.value)
    for (row, class_), measured in amounts.items():
        clipped = max(measured.get("clip-fraction", [0.0]))
        if clipped > CLIPPED:
            voxels = measured.get("foreground")
            mean = f"; mean foreground {number(fmean(voxels))} voxels" if voxels else ""
            yield (
                f"{labels[row]} ({class_}): {number(100 * clipped)} % of voxels lay outside "
                f"[-1, 1] and were clipped (largest of all seeds){mean}."
            )


def _measured(contents: Contents, values: Sequence[Value], labels: Sequence[str]) -> Iterator[str]:
    """Yield the notes that metrics left, once each, naming rows where not all have them.

    Notes that the same metrics and rows left stand in one line.
    """
    subjects: dict[str, dict[str, list[str]]] = {}
    for metric in contents.metrics:
        scored = [v for v in values if v.metric == metric.name and v.status == OK]
        holders: dict[str, dict[tuple[int, str], None]] = {}
        for v in scored:
            for note in v.notes:
                holders.setdefault(note, {})[v.row, v.class_] = None
        for note, places in holders.items():
            who = _places(places, {(v.row, v.class_) for v in scored}, labels)
            subjects.setdefault(note, {}).setdefault(who, []).append(metric.label)
    lines: dict[str, list[str]] = {}
    for note, holding in subjects.items():
        parts = (", ".join(metrics) + who for who, metrics in holding.items())
        lines.setdefault("; ".join(parts), []).append(note)
    for metrics, notes in lines.items():
        yield f"{metrics}: {'; '.join(notes)}"


def _places(
    holding: Container[tuple[int, str]], everywhere: Set[tuple[int, str]], labels: Sequence[str]
) -> str:
    """Name the rows, and the classes of rows, that are not all there are; empty if all hold."""
    if all(place in holding for place in everywhere):
        return ""
    rows: dict[int, list[str]] = {}
    for row, class_ in sorted(everywhere):
        if (row, class_) in holding:
            rows.setdefault(row, []).append(class_)
    named = (
        labels[row]
        if len(classes) == sum(r == row for r, _ in everywhere)
        else f"{labels[row]}, {' and '.join(classes)}"
        for row, classes in rows.items()
    )
    return f" ({'; '.join(named)})"


def recipes(
    contents: Contents, values: Sequence[Value], labels: Sequence[str], shown: Sequence[int]
) -> Iterator[str]:
    """Yield what is needed to repeat the table: data, rows, recipes, differences, devices."""
    data = contents.dataset
    yield (
        f"Data: {data.label} ({data.source}), licence {data.licence}, "
        f"recipe {data.recipe.name} version {data.recipe.version}; "
        + "; ".join(
            f"{name}: {sizes.train} training and {sizes.test} test cases"
            for name, sizes in data.counts.items()
        )
        + "."
    )
    for row in shown:
        yield _row(contents.rows[row], labels[row])
    for metric in contents.metrics:
        if not metric.unavailable:
            made = (v.uncertainty for v in values if v.metric == metric.name and v.uncertainty)
            yield _recipe(metric, "; ".join(dict.fromkeys(made)))
            yield from _counted(metric, values)
    yield from _without_facts(contents, values, labels)
    yield from _devices(values)
    if contents.cite:
        yield f"Cite: {contents.cite}"


def methods(contents: Contents, labels: Sequence[str], *, whole: bool = True) -> Iterator[str]:
    """Yield what each method is and which settings differ from its preset ``paper``.

    Not ``whole``: how many they are. What must be known of a folder of samples is always there.
    """
    counts = []
    for row, label in zip(contents.rows, labels, strict=True):
        if row.kind == "samples" or (whole and row.kind != CONTROL_KIND):
            yield _row(row, label)
        elif row.kind == "method" and row.differences:
            counts.append(f"{label} {len(row.differences)}")
    if counts:
        yield f"Settings that differ from preset paper: {', '.join(counts)} (--notes lists them)."


def _row(row: RowEntry, label: str) -> str:
    if row.kind == CONTROL_KIND:
        return f"{label} ({row.role}): {row.note}"
    parts = [f"source {row.source}"]
    parts += [f"preset {row.preset}"] if row.preset else []
    if row.conditioning:
        single = row.conditioning != "none"
        models = "one model for all classes" if single else "one model a class"
        parts.append(f"conditioning {row.conditioning} ({models})")
    text = f"{label}: {', '.join(parts)}."
    if row.differences:
        text += f" {changed(row.differences)}"
    return text


def changed(differences: Sequence[Difference]) -> str:
    """Say in a sentence which settings differ from the preset ``paper``.

    A value of that preset is called the paper's only where its tag says so: many stand in no paper
    and were taken from its code or chosen by us.
    """
    parts = (f"{d.setting} {plain(d.value)} ({_compared(d)})" for d in differences)
    return f"Differs from preset paper in {'; '.join(parts)}."


def _compared(difference: Difference) -> str:
    kind = difference.paper_source.removeprefix("[").partition(":")[0]
    if kind == "paper":
        return f"paper: {plain(difference.paper)}"
    return f"preset paper: {plain(difference.paper)}{f', {plain(kind)}' if kind else ''}"


def _recipe(metric: MetricEntry, uncertainty: str) -> str:
    settings = ", ".join(f"{name} {_stated(value)}" for name, value in metric.recipe.items())
    scale = units(metric.scale)
    shown = f" Standard error: {uncertainty}." if uncertainty else ""
    shown += f" Printed in units of {scale.strip('()')}." if scale else ""
    return (
        f"{metric.label} = {metric.name} version {metric.version} ({metric.source}), "
        f"recipe {metric.recipe_hash[:8]}: {settings}.{shown}"
    )


def _stated(value: object) -> str:
    """Return a setting of a recipe as text: '(with training cases; groups 10)' where it has parts.

    Example:
        >>> _stated({"of": "cases", "sizes": [1, 2], "fresh": None})
        '(of cases; sizes [1, 2]; fresh null)'
    """
    if isinstance(value, Mapping):
        return f"({'; '.join(f'{name} {_stated(part)}' for name, part in value.items())})"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_stated, value))}]"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _counted(metric: MetricEntry, values: Sequence[Value]) -> Iterator[str]:
    """Yield the range over all rows of each number that the metric recorded."""
    counted: dict[str, list[float]] = {}
    for facts in (v.facts or {} for v in values if v.metric == metric.name):
        for name, value in facts.items():
            if name not in RULING and is_number(value):
                counted.setdefault(name, []).append(value)
    ranges = []
    for name, amounts in counted.items():
        ends = dict.fromkeys(f"{end:.6g}" for end in (min(amounts), max(amounts)))
        ranges.append(f"{name} {' to '.join(ends)}")
    if ranges:
        yield f"{metric.label} over all rows recorded {', '.join(ranges)}."


def _without_facts(
    contents: Contents, values: Sequence[Value], labels: Sequence[str]
) -> Iterator[str]:
    """Say which scores a version recorded that knew no facts, naming rows where not all are."""
    lacking: dict[str, list[str]] = {}
    for metric in contents.metrics:
        scored = [v for v in values if v.metric == metric.name and v.status == OK]
        old = {(v.row, v.class_) for v in scored if v.facts is None}
        if old:
            who = _places(old, {(v.row, v.class_) for v in scored}, labels)
            lacking.setdefault(who, []).append(metric.label)
    if lacking:
        listed = "; ".join(", ".join(metrics) + who for who, metrics in lacking.items())
        yield (
            f"Scores recorded by an older version, without facts: {listed}; bench run keeps them. "
            "Their notes stand as they were recorded; ranges, tests and warnings that are made "
            "from facts leave them out. To have them made anew, delete their records first."
        )


def _load(values: Sequence[Value], labels: Sequence[str]) -> Iterator[str]:
    """Say which trainings were timed while the machine was busy."""
    timed = [v for v in values if v.metric == "train-seconds" and v.status == OK]
    busy = [v for v in timed if load.busy(v.facts)]
    if busy:
        rows = {v.row: labels[v.row] for v in busy}
        ours = sum(v.row in rows for v in timed)
        others = [load.number(v.facts, load.OTHERS) for v in busy]
        ends = dict.fromkeys(f"{end:.1f}" for end in (min(others), max(others)))
        cores = span(int(load.number(v.facts, load.CORES)) for v in busy)
        some = f" in {len(busy)} of {ours} trainings" if len(busy) < ours else ""
        yield (
            f"The machine was busy while {', '.join(rows.values())} trained: other processes used "
            f"{' to '.join(ends)} of {cores} cores{some}. Training takes less time on an idle one; "
            "CPU time compares better."
        )


def _devices(values: Sequence[Value]) -> Iterator[str]:
    trained = sorted({v.device for v in values if v.metric == "train-seconds" and v.device})
    if trained:
        mixed = " Times on different devices do not compare." if len(trained) > 1 else ""
        yield f"Training time measured on {'; '.join(trained)}.{mixed}"
        yield (
            "Peak memory of a training: allocated on a GPU; resident in the process, libraries and "
            "data included, on a CPU. Parameters: those that training changes, in all networks of "
            "one trained model; a running average of them is not counted again."
        )
