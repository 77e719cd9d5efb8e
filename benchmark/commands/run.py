"""``bench run``: train, sample, score and classify what is missing, then the table."""

from __future__ import annotations

import dataclasses
import gc
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from cerebench.benchmark import errors
from cerebench.benchmark.commands.options import (
    AcceptRange,
    Data,
    Device,
    Json,
    MaxCopies,
    Out,
    Plugin,
    SameAxes,
    SkipBad,
    Split,
    TrustHeaders,
    check_device,
    complain,
    open_registries,
    read_axes,
    read_data_options,
    read_headers,
    read_names,
    read_numbers,
    refuse_ignored,
)
from cerebench.benchmark.console import Console
from cerebench.core.errors import EXIT_INTERNAL, EXIT_SOME_FAILED
from cerebench.core.texts import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cerebench.benchmark.display import Display
    from cerebench.benchmark.engine.registry import Registries
    from cerebench.benchmark.planning.experiment import Experiment
    from cerebench.benchmark.planning.plan import Plan


# The first group is what everybody needs; a name is that of a parameter.
GROUPS = {
    "Options": ("methods", "dataset", "data_root", "preset", "seeds", "dry_run"),
    "What is measured": (
        "n", "size", "metrics", "protocols", "protocol_preset", "reference", "settings",
        "max_copies",
    ),
    "Real data": ("data", "split", "skip_bad", "same_axes", "trust_headers"),
    "Volumes that somebody else made": (
        "samples", "samples_range", "accept_range", "allow_leakage",
    ),
    "Where and how": ("out", "device", "plugin", "as_json", "help"),
}  # fmt: skip


class Grouped(TyperCommand):
    """A command whose help shows its options in groups."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return arguments, then options group by group."""
        place = {name: group for group, names in GROUPS.items() for name in names}
        order = list(place)
        found: list[Any] = super().get_params(ctx)
        for parameter in found:
            if parameter.name in place:
                parameter.rich_help_panel = place[parameter.name]
        return sorted(found, key=lambda p: order.index(p.name) if p.name in place else -1)


def run(
    experiment: Annotated[
        str, typer.Argument(help="A shipped experiment (bench list experiments) or a TOML file.")
    ] = "quickstart",
    methods: Annotated[
        str | None,
        typer.Option(help="all = the paper's rows, every = all installed, none, or names: a,b."),
    ] = None,
    samples: Annotated[
        list[str] | None,
        typer.Option(
            help="[NAME=]DIR of generated volumes (NIfTI, .npy or .npz), one subfolder a class, as "
            "one more row; repeat for several."
        ),
    ] = None,
    samples_range: Annotated[
        tuple[float, float], typer.Option(help="Background and maximum value of --samples files.")
    ] = (-1.0, 1.0),
    accept_range: AcceptRange = False,
    dataset: Annotated[str | None, typer.Option(help="Dataset name (bench list datasets).")] = None,
    data_root: Annotated[str | None, typer.Option(help="Folder of the dataset's files.")] = None,
    data: Data = None,
    skip_bad: SkipBad = False,
    same_axes: SameAxes = False,
    trust_headers: TrustHeaders = False,
    split: Split = None,
    allow_leakage: Annotated[
        bool,
        typer.Option(
            "--allow-leakage",
            help="Score --samples of generators that have seen test cases; marks every table.",
        ),
    ] = False,
    size: Annotated[int | None, typer.Option(help="Edge length of the volumes, voxels.")] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="Preset of every method and protocol: smoke, quick, lite, paper, …"),
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="Training seeds: 0,1,2.")] = None,
    n: Annotated[int | None, typer.Option("-n", "--n", help="Samples per class.")] = None,
    metrics: Annotated[
        str | None,
        typer.Option("--metrics", "--suite", help="Metrics and suites: core,vendi-radlite-v1."),
    ] = None,
    protocols: Annotated[
        str | None,
        typer.Option(help="Downstream protocols: exp1,exp2; all, none (bench list protocols)."),
    ] = None,
    protocol_preset: Annotated[
        str | None, typer.Option(help="Preset of the protocols where it is another: stable.")
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            help="The method that all others are tested against, and whose volumes control "
            "protocols take; or none."
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="NAME.field=value of a method or protocol; *.field=value where it exists."
        ),
    ] = None,
    max_copies: MaxCopies = None,
    out: Out = Path("runs"),
    device: Device = "auto",
    plugin: Plugin = None,
    as_json: Json = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="List the cells with estimated times, memory and disk."),
    ] = False,
) -> None:
    """Train, sample, score and classify; then print the table.

    Run again to do only what is missing; the report files are written anew every time.
    --protocols trains classifiers on real and generated volumes and tests them on held-out cases.
    """
    from cerebench.benchmark.engine import gate

    began, most = time.perf_counter(), gate.checked(max_copies)
    registries = open_registries(plugin)
    of_samples = {
        "--samples-range": samples_range != (-1.0, 1.0),
        "--accept-range": accept_range,
        "--allow-leakage": allow_leakage,
    }
    if not samples:
        refuse_ignored("--samples", of_samples)
    axes, headers = read_axes(same_axes, trust_headers), read_headers(same_axes, trust_headers)
    chosen = chosen_experiment(
        experiment,
        methods=methods,
        dataset=dataset,
        data_root=data_root,
        data=read_data_options(data),
        headers={} if samples else headers,
        split_file=split,
        skip_bad=skip_bad or None,
        allow_leakage=allow_leakage or None,
        size=size,
        preset=preset,
        seeds=read_numbers(seeds),
        samples_per_class=n,
        metrics=read_names(metrics),
        protocols=read_names(protocols),
        protocol_preset=protocol_preset,
        reference="" if reference == "none" else reference,
        settings=settings or [],
    )
    if not chosen.protocols:
        refuse_ignored("--protocols", {"--protocol-preset": protocol_preset is not None})
    if most is not None:
        chosen = dataclasses.replace(chosen, metrics=gate.with_copies(chosen.metrics))
    with _uncollected() if dry_run else nullcontext():
        from cerebench.benchmark.display import choose
        from cerebench.benchmark.planning.foreign import row_names
        from cerebench.benchmark.planning.plan import Samples, make_plan, with_headers
        from cerebench.benchmark.planning.source import tell
        from cerebench.datasets.cache import default_cache

        check_device(device)
        rows = [
            Samples(name, folder, samples_range, accept_range, axes)
            for name, folder in row_names(samples or [], "--samples").items()
        ]
        if rows:
            chosen = with_headers(chosen, headers, registries)
        shown = choose(Console(stderr=as_json), silent=as_json)
        plan = make_plan(chosen, registries, out, default_cache(), rows, shown)
        tell(plan.common.reference.dataset, shown)
        _check_weights(plan, metrics=metrics is not None, protocols=read_names(protocols) or [])
        if dry_run:
            from cerebench.benchmark.planning.estimate import print_estimate

            print_estimate(plan, device, as_json=as_json)
            return
    carry_out(
        plan,
        registries,
        device,
        shown,
        as_json=as_json,
        began=began,
        max_copies=most,
        named=read_names(metrics) or (),
    )


@contextmanager
def _uncollected() -> Iterator[None]:
    """Do without the garbage collector: imports and traces make many objects and few circles."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def carry_out(
    plan: Plan,
    registries: Registries,
    device: str,
    shown: Display,
    *,
    as_json: bool,
    began: float,
    max_copies: float | None,
    named: Sequence[str] = (),
) -> None:
    """Run a plan, write its reports, print the table or JSON, and ask the gate.

    Metrics that were ``named`` one by one stand first on the screen.
    """
    from cerebench.benchmark.display import duration
    from cerebench.benchmark.engine.runner import Runner
    from cerebench.datasets.cache import default_cache

    outcome = Runner(plan, registries, default_cache(), device, shown).run()
    # Also where every stage was done before: other selections may share these records.
    written, broken = _write_reports(registries, plan.table_of_contents)
    if not (outcome.done or outcome.failed):
        shown.say(
            f"Nothing to do: all {outcome.kept} stages are done "
            f"({duration(time.perf_counter() - began)})."
        )
    if as_json:
        answer = {
            "done": outcome.done,
            "kept": outcome.kept,
            "failed": outcome.failed,
            "folder": str(plan.folder),
            "contents": str(plan.table_of_contents),
            "reports": [str(p) for p in written],
            **plan.common.reference.left_out(),
        }
        typer.echo(json.dumps(answer, indent=1))
    else:
        _print_answer(plan.table_of_contents, written, named)
        if outcome.failed:
            shown.say(f"{counted(len(outcome.failed), 'stage')} failed:")
        for title, reason in outcome.failed.items():
            shown.say(f"  {title}: {reason}")
    end(outcome.failed, broken)
    if max_copies is not None:
        from cerebench.benchmark.engine.gate import refuse_copies

        refuse_copies(plan.table_of_contents, max_copies)


def end(failed: Mapping[str, str], broken: Mapping[str, str]) -> None:
    """End a run: with an error where a stage failed, or a report could not be written.

    Args:
        failed: Reason by stage.
        broken: Reason by report format.
    """
    for name, reason in broken.items():
        complain(f"The report '{name}' could not be written: {reason}. All records are kept.")
    if failed:
        raise typer.Exit(EXIT_SOME_FAILED)
    if broken:
        raise typer.Exit(EXIT_INTERNAL)


def chosen_experiment(
    name: str, *, settings: list[str], headers: dict[str, Any] | None = None, **overrides: Any
) -> Experiment:
    """Read an experiment and put the command line's values on top.

    ``headers`` is an option of the data, beside those that the experiment or ``--data`` gives.
    """
    from cerebench.benchmark.planning import experiment as experiments
    from cerebench.benchmark.planning.config import override_table

    base = experiments.read(name)
    changes = {key: value for key, value in overrides.items() if value is not None}
    if changes.get("dataset", base.dataset) != base.dataset:
        changes["split"] = {}  # a split rule belongs to its dataset, and so do options
        changes.setdefault("data", {})
        changes.setdefault("split_file", "")
    if title := _title(base, changes):
        changes["title"] = title
    if headers:
        changes["data"] = {**changes.get("data", base.data), **headers}
    if "preset" in changes:
        changes.setdefault("size", 0)  # the preset's own size
        changes.setdefault("protocol_preset", "")  # protocols follow
    table = {key: dict(value) for key, value in base.set.items()}
    for method, fields in override_table(settings).items():
        table.setdefault(method, {}).update(fields)
    return dataclasses.replace(base, **changes, set=table)


def _title(base: Experiment, changes: dict[str, Any]) -> str:
    """Return a title that fits what is run; empty where that of the experiment still does.

    A title speaks of data, methods, preset and protocols; with others the file's own is wrong.
    """
    parts = []
    for name in ("dataset", "methods", "preset", "protocols"):
        own, given = getattr(base, name), changes.get(name, getattr(base, name))
        own, given = [n.split(",") if isinstance(n, str) else list(n) for n in (own, given)]
        if own != given:
            listed = ", ".join(given) or "none"
            parts.append(f"on {listed}" if name == "dataset" else f"{name} {listed}")
    return f"{base.name}: {'; '.join(parts)}" if parts else ""


def _check_weights(plan: Plan, *, metrics: bool, protocols: list[str]) -> None:
    """Refuse at once when the user named a metric or protocol whose weights are missing."""
    from cerebench.metrics.base import MissingWeights

    named = [*plan.common.metrics] if metrics else []
    for planned in [*named, *(p for p in plan.common.protocols if p.name in protocols)]:
        if planned.unavailable:
            raise MissingWeights(planned.unavailable)


def _write_reports(registries: Registries, contents: Path) -> tuple[list[Path], dict[str, str]]:
    """Write every report format into the experiment's report folder.

    Returns:
        The files, and by format why it could not be written: the table is printed all the same.
    """
    from cerebench.benchmark.tables import FIGURE, reporters, write
    from cerebench.reports.base import RecordedExperiment

    experiments = [RecordedExperiment.read(contents)]
    written: list[Path] = []
    renderers, plots, broken = reporters(registries)
    for name, renderer in renderers.items():
        options = {"further": plots} if name == FIGURE else {}
        try:
            with errors.no_exit():
                written += write(renderer.write, experiments, None, **options)
        except OSError:  # of the disk: main() says what to do
            raise
        except Exception as error:  # one format must not take the table with it
            broken[name] = f"{type(error).__name__}: {error}"
    return written, broken


def _print_answer(contents: Path, written: Sequence[Path], named: Sequence[str]) -> None:
    """Print one line a row, what to type for more, and where the report files are.

    Folders of samples get the full table: its notes say what in them was set aside or clipped.
    """
    from cerebench.benchmark.tables import command, console, find, print_terminal
    from cerebench.reports.answer import render
    from cerebench.reports.base import RecordedExperiment
    from cerebench.reports.history import earlier

    experiment, screen = RecordedExperiment.read(contents), console()
    out = contents.parents[1]
    again, lines = command(experiment.name, out), []
    if any(row.kind == "samples" for row in experiment.contents.rows):
        print_terminal([experiment], screen, command=again)
        lines += ["Figures and tables in"]
    else:
        render(experiment, screen, named)
        lines += [f"Full tables: {again}"]
        lines += ["Add --notes, --all-columns, --diagnostics, --controls, --latex, --csv; files in"]
    if earlier(experiment, find(out, experiment.name).every):
        lines.insert(0, f"Earlier runs of this name held more: {again} --all")
    for line in lines:
        screen.print(line, style="dim", markup=False, highlight=False, soft_wrap=True)
    for folder in dict.fromkeys(path.parent for path in written):
        screen.print(str(folder), markup=False, highlight=False, soft_wrap=True)
