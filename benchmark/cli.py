"""The command line. Heavy imports happen inside the commands, so that help answers at once."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

from cerebench.benchmark import errors
from cerebench.benchmark.display import print_with_replacements
from cerebench.core.errors import (
    EXIT_DATA,
    EXIT_DISK,
    EXIT_INTERNAL,
    EXIT_INTERRUPTED,
    EXIT_SOME_FAILED,
    EXIT_USAGE,
    UsageError,
    UserError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cerebench.benchmark.data import Source
    from cerebench.benchmark.display import Display
    from cerebench.benchmark.engine.registry import Registries
    from cerebench.benchmark.planning.experiment import Experiment
    from cerebench.benchmark.planning.plan import Plan
    from cerebench.datasets.folders.folder import Axes


class Commands(TyperGroup):
    """The commands; one that ends in ``sys.exit()`` of a plugin ends in an error."""

    def invoke(self, ctx: Any) -> Any:
        with errors.no_exit():
            return super().invoke(ctx)


app = typer.Typer(
    name="bench",
    cls=Commands,
    help="Compare generators of 3D brain-tumour MRI: train, sample and score them under one "
    "interface.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = typer.Typer(help="Check, prepare and export a dataset.", no_args_is_help=True)
new_app = typer.Typer(help="Write a working skeleton of a plugin.", no_args_is_help=True)
weights_app = typer.Typer(help="List and import weight files.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(new_app, name="new")
app.add_typer(weights_app, name="weights")

Plugin = Annotated[
    list[str] | None,
    typer.Option("--plugin", help="Python file with a method, FILE[:CLASS]; no other is loaded."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Data = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        help="Option of the dataset, NAME=VALUE; repeat it. Of scans: modalities=t1,flair; "
        "recipe=roi or brain; crop, percentile, wide; layout; labels; subset=brats2019.",
    ),
]
Split = Annotated[
    str | None,
    typer.Option(help="A published split: CSV with case_id,patient_id,role,fold; FILE[:FOLD]."),
]
SkipBad = Annotated[
    bool,
    typer.Option(
        "--skip-bad",
        help="Leave out cases and files that cannot be used: named on the screen, counted in every "
        "table.",
    ),
]
SameAxes = Annotated[
    bool,
    typer.Option(
        "--same-axes",
        help="Where headers of a case differ, that of its first image holds for all its files; "
        "generated volumes lie as the real ones do, whatever their headers say.",
    ),
]
TrustHeaders = Annotated[
    bool,
    typer.Option(
        "--trust-headers",
        help="Where headers differ, of a case or of real and generated volumes, each file is "
        "turned by its own.",
    ),
]
AcceptRange = Annotated[
    bool,
    typer.Option(
        "--accept-range",
        help="Score volumes whose values look like another range as they are; the table says so.",
    ),
]
Root = Annotated[Path | None, typer.Argument(help="Folder of the files, or a manifest.")]
Dataset = Annotated[str, typer.Option(help="Dataset name; scans recognises every layout.")]
Size = Annotated[int, typer.Option(help="Edge length of the volumes, voxels.")]
MaxCopies = Annotated[
    float | None,
    typer.Option(
        "--max-copies",
        help="Release gate: exit code 7 where a larger share of a row's volumes are copies of "
        "training cases (metric copies, computed with it), 0 to 1.",
    ),
]
Device = Annotated[
    str, typer.Option(help="auto, cpu, cuda or cuda:N; auto takes a GPU where there is one.")
]
Out = Annotated[Path, typer.Option("--out", help="Folder of results.")]


def main() -> None:
    """Run ``bench``: errors a user can act on end in one line and an exit code of their own."""
    print_with_replacements(sys.stdout, sys.stderr)
    try:
        app()
    except KeyboardInterrupt:
        _complain("Interrupted. The same command continues where it stopped.")
        sys.exit(EXIT_INTERRUPTED)
    except errors.Interrupted:
        _complain("Stopped. The same command continues where it stopped.")
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_INTERNAL)
    except OSError as error:
        if fault := errors.path_fault(error):
            _complain(fault)
            sys.exit(EXIT_USAGE)
        place = f": {error.filename}" if error.filename else ""
        _complain(
            f"{error.strerror or error}{place}. Check the disk and the permissions of --out, of "
            "$CEREBENCH_CACHE and of the data; everything finished so far is kept."
        )
        sys.exit(EXIT_DISK)
    except errors.PluginExit as error:
        _complain(str(error))
        sys.exit(EXIT_INTERNAL)
    except UserError as error:
        _complain(str(error))
        sys.exit(error.exit_code)
    except ValueError as error:
        fault = errors.path_fault(error)
        if not fault:
            raise
        _complain(fault)
        sys.exit(EXIT_USAGE)


def _complain(text: str) -> None:
    line = f"[bold red]bench:[/] {escape(text)}"
    Console(stderr=True).print(line, highlight=False, soft_wrap=True)


def _registries(plugins: list[str] | None) -> Registries:
    """Return the registries, with the plugin files that were given; no other file is loaded."""
    from cerebench.benchmark.engine.registry import Registries

    registries = Registries()
    for target in plugins or []:
        registries.add_plugin(target)
    return registries


@app.command()
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
            help="NAME=DIR: a folder of NIfTI samples, by class, as one more row. NAME: letters, "
            "digits, '.', '_', '-'."
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
        str | None, typer.Option(help="Preset of every method and protocol: quick, paper, …")
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="Training seeds: 0,1,2.")] = None,
    n: Annotated[int | None, typer.Option(help="Samples per class.")] = None,
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
        typer.Option(help="The method that tests compare with, and controls take; or none."),
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
        bool, typer.Option("--dry-run", help="List the cells with estimated times and disk.")
    ] = False,
) -> None:
    """Train, sample, score and classify; then print the table.

    Run again to do only what is missing; the report files are written anew every time.
    --protocols trains classifiers on real and generated volumes and tests them on held-out cases.
    """
    from cerebench.benchmark import gate

    began, most = time.perf_counter(), gate.checked(max_copies)
    registries = _registries(plugin)
    axes, headers = _axes(same_axes, trust_headers), _headers(same_axes, trust_headers)
    chosen = _experiment(
        experiment,
        methods=methods,
        dataset=dataset,
        data_root=data_root,
        data=_data_options(data),
        headers={} if samples else headers,
        split_file=split,
        skip_bad=skip_bad or None,
        allow_leakage=allow_leakage or None,
        size=size,
        preset=preset,
        seeds=_numbers(seeds),
        samples_per_class=n,
        metrics=_names(metrics),
        protocols=_names(protocols),
        protocol_preset=protocol_preset,
        reference="" if reference == "none" else reference,
        settings=settings or [],
    )
    if most is not None:
        chosen = dataclasses.replace(chosen, metrics=gate.with_copies(chosen.metrics))
    from cerebench.benchmark.data import tell
    from cerebench.benchmark.display import choose
    from cerebench.benchmark.planning.plan import Samples, make_plan, with_headers
    from cerebench.datasets.cache import default_cache

    _check_device(device)
    rows = [
        Samples(name, Path(folder), samples_range, accept_range, axes)
        for name, folder in _pairs(samples or [])
    ]
    if rows:
        chosen = with_headers(chosen, headers, registries)
    shown = choose(Console(stderr=as_json), silent=as_json)
    plan = make_plan(chosen, registries, out, default_cache(), rows, shown)
    tell(plan.common.reference.dataset, shown)
    _check_weights(plan, metrics=metrics is not None, protocols=_names(protocols) or [])
    if dry_run:
        from cerebench.benchmark.planning.estimate import print_estimate

        print_estimate(plan, device, as_json=as_json)
        return
    _run(plan, registries, device, shown, as_json=as_json, began=began, max_copies=most)


def _run(
    plan: Plan,
    registries: Registries,
    device: str,
    shown: Display,
    *,
    as_json: bool,
    began: float,
    max_copies: float | None,
) -> None:
    """Run a plan, write its reports, print the table or JSON, and ask the gate."""
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
        _print_table(plan.table_of_contents)
        for path in written:
            shown.say(str(path))
        if outcome.failed:
            shown.say(f"{len(outcome.failed)} stages failed:")
        for title, reason in outcome.failed.items():
            shown.say(f"  {title}: {reason}")
    _end(outcome.failed, broken)
    if max_copies is not None:
        from cerebench.benchmark.gate import refuse_copies

        refuse_copies(plan.table_of_contents, max_copies)


def _end(failed: Mapping[str, str], broken: Mapping[str, str]) -> None:
    """End a run: with an error where a stage failed, or a report could not be written.

    Args:
        failed: Reason by stage.
        broken: Reason by report format.
    """
    for name, reason in broken.items():
        _complain(f"The report '{name}' could not be written: {reason}. All records are kept.")
    if failed:
        raise typer.Exit(EXIT_SOME_FAILED)
    if broken:
        raise typer.Exit(EXIT_INTERNAL)


def _experiment(
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
        changes["split"] = {}  # a split rule belongs to its dataset, and so do options and a title
        changes.setdefault("data", {})
        changes.setdefault("split_file", "")
        changes["title"] = f"{base.name} on {changes['dataset']}"
    if headers:
        changes["data"] = {**changes.get("data", base.data), **headers}
    if "preset" in changes:
        changes.setdefault("size", 0)  # the preset's own size
        changes.setdefault("protocol_preset", "")  # protocols follow
    table = {key: dict(value) for key, value in base.set.items()}
    for method, fields in override_table(settings).items():
        table.setdefault(method, {}).update(fields)
    return dataclasses.replace(base, **changes, set=table)


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [word.strip() for word in text.split(",") if word.strip()]


def _numbers(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(word) for word in text.split(",")]
    except ValueError as error:
        raise UsageError(
            f"--seeds must be whole numbers, got '{text}'. Example: --seeds 0,1,2."
        ) from error


def _data_options(texts: list[str] | None) -> dict[str, Any] | None:
    from cerebench.benchmark.data import parse_options

    return parse_options(texts) if texts else None


def _axes(same_axes: bool, trust_headers: bool) -> Axes:
    """Return what is done where headers differ."""
    if same_axes and trust_headers:
        raise UsageError(
            "--same-axes and --trust-headers exclude each other: the header of the first image "
            "holds, or each file's own. Give one of them."
        )
    if same_axes:
        return "same"
    return "trust" if trust_headers else "compare"


def _headers(same_axes: bool, trust_headers: bool) -> dict[str, str]:
    """Return the option of scans that says whose header holds; none by default."""
    return {
        "same": {"headers": "image"},
        "trust": {"headers": "own"},
        "compare": {},
    }[_axes(same_axes, trust_headers)]


def _pairs(texts: list[str]) -> list[tuple[str, str]]:
    pairs = [text.partition("=") for text in texts]
    for name, equals, folder in pairs:
        if not (name and equals and folder):
            raise UsageError(
                f"--samples expects NAME=DIR, got '{name}'. Example: --samples mine=samples/."
            )
    return [(name, folder) for name, _, folder in pairs]


def _check_device(device: str) -> None:
    """Refuse a device that this machine does not have, before anything is read or written."""
    if device in ("auto", "cpu"):
        return
    from cerebench.benchmark.device import pick_device

    pick_device(device)


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
    from cerebench.benchmark.tables import write
    from cerebench.reports.base import Experiment

    experiments = [Experiment.read(contents)]
    written: list[Path] = []
    broken: dict[str, str] = {}
    for name in registries.reports.names():
        try:
            with errors.no_exit():
                written += write(registries.reports.load(name), experiments, None)
        except OSError:  # of the disk: main() says what to do
            raise
        except Exception as error:  # one format must not take the table with it
            broken[name] = f"{type(error).__name__}: {error}"
    return written, broken


def _print_table(contents: Path) -> None:
    from cerebench.benchmark.tables import console, print_terminal
    from cerebench.reports.base import Experiment

    print_terminal([Experiment.read(contents)], console())


@app.command()
def evaluate(
    real: Annotated[Path, typer.Option(help="Folder of real volumes: the reference.")],
    fake: Annotated[
        list[str], typer.Option(help="[NAME=]DIR of generated volumes; repeat for several rows.")
    ],
    train: Annotated[
        Path | None,
        typer.Option(help="What the generator was trained on; metrics for copies need it."),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option("--metrics", "--suite", help="Metrics and suites; default: core."),
    ] = None,
    value_range: Annotated[
        tuple[float, float], typer.Option("--range", help="Background and maximum value.")
    ] = (-1.0, 1.0),
    fake_range: Annotated[
        tuple[float, float] | None, typer.Option(help="The same of --fake, where it differs.")
    ] = None,
    resample: Annotated[
        str | None, typer.Option(help="Resample all volumes to N^3 or to D,H,W voxels.")
    ] = None,
    skip_bad: SkipBad = False,
    accept_range: AcceptRange = False,
    same_axes: SameAxes = False,
    trust_headers: TrustHeaders = False,
    paired: Annotated[
        bool, typer.Option("--paired", help="Equal file names are pairs (for ssim, psnr, mae).")
    ] = False,
    real_structures: Annotated[
        Path | None,
        typer.Option(help="Volumes of real structures: a CSV, or a folder of label files."),
    ] = None,
    structures: Annotated[
        list[str] | None,
        typer.Option(help="[NAME=]PATH of the same of --fake; repeat for several rows."),
    ] = None,
    floor_only: Annotated[
        bool, typer.Option("--floor-only", help="Do not score the control rows.")
    ] = False,
    max_copies: MaxCopies = None,
    out: Out = Path("runs"),
    device: Device = "auto",
    plugin: Plugin = None,
    as_json: Json = False,
) -> None:
    """Score folders of NIfTI volumes against real ones, and print the table. Trains nothing.

    A folder holds plain files, one subfolder a class, or a BIDS derivative with participants.tsv.
    """
    from cerebench.benchmark import display, gate
    from cerebench.benchmark.device import pick_device
    from cerebench.benchmark.planning.evaluate import Request, make_plan, of_rows, row_names

    rows, most = row_names(fake), gate.checked(max_copies)
    asked = _names(metrics) or ["core"]
    if most is not None and train is None:
        raise UsageError(
            "--max-copies compares with what the generator was trained on: give that folder with "
            "--train."
        )
    request = Request(
        real=real,
        fakes=rows,
        train=train,
        metrics=asked if most is None else gate.with_copies(asked),
        value_range=value_range,
        fake_range=fake_range or value_range,
        shape=_shape(resample),
        skip_bad=skip_bad,
        accept_range=accept_range,
        axes=_axes(same_axes, trust_headers),
        paired=paired,
        structures=of_rows(structures or [], rows),
        real_structures=real_structures,
        controls=not floor_only,
        out=out,
        explicit=metrics is not None,
    )
    began, registries = time.perf_counter(), _registries(plugin)
    shown, chosen = display.choose(Console(stderr=True), silent=as_json), str(pick_device(device))
    plan = make_plan(request, registries, shown)
    _run(plan, registries, chosen, shown, as_json=as_json, began=began, max_copies=most)


def _shape(text: str | None) -> tuple[int, int, int] | None:
    """Read ``N`` or ``D,H,W``."""
    if text is None:
        return None
    words = text.split(",")
    if not all(w.isdigit() and int(w) > 3 for w in words) or len(words) not in (1, 3):
        raise UsageError(
            f"--resample must be one or three whole numbers above 3, got '{text}'. Example: "
            "--resample 64, or --resample 80,112,80."
        )
    depth, height, width = (int(w) for w in (words if len(words) == 3 else words * 3))
    return depth, height, width


@app.command()
def report(
    experiment: Annotated[
        str | None, typer.Argument(help="Name of an experiment; all of them without it.")
    ] = None,
    latex: Annotated[
        bool, typer.Option("--latex", help="Write LaTeX tables and a main.tex that compiles.")
    ] = False,
    siunitx: Annotated[
        bool, typer.Option("--siunitx", help="With --latex: set numbers with siunitx.")
    ] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown tables.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print tidy rows, one value a row.")] = False,
    figure: Annotated[bool, typer.Option("--figure", help="Write all figures (PDF, PNG).")] = False,
    anchors: Annotated[
        bool,
        typer.Option("--anchors", help="Show the control rows: copies, collapse, blur, noise."),
    ] = False,
    protocol: Annotated[
        bool, typer.Option("--protocol", help="Print the recipe of every column.")
    ] = False,
    test: Annotated[
        str,
        typer.Option(
            help="The test that stands beside that of generators: paired_bootstrap, delong (test "
            "patients), welch, student, paired (runs)."
        ),
    ] = "paired_bootstrap",
    with_published: Annotated[
        bool,
        typer.Option("--with-published", help="Also the numbers that the paper reported, apart."),
    ] = False,
    older: Annotated[
        bool, typer.Option("--all", help="Also tables that a later run of the same name replaced.")
    ] = False,
    out: Out = Path("runs"),
    to: Annotated[
        Path | None, typer.Option(help="Folder for files; default: report/ beside the records.")
    ] = None,
) -> None:
    """Print or write tables from records. Needs neither torch nor the data.

    A record that does not fit its schema is left out and named with file and field.
    Exit code 3 when a table of contents does not fit; the others are printed.
    """
    from cerebench.benchmark import tables

    found, broken = tables.find(out, experiment, older=older)
    if csv:
        tables.print_csv(found)
    if markdown:
        tables.print_markdown(found, test=test, published=with_published)
    written: list[Path] = []
    if latex:
        from cerebench.reports.latex import write

        style = {"siunitx": siunitx, "anchors": anchors}
        written += tables.write(write, found, to, test=test, published=with_published, **style)
    if figure:
        from cerebench.reports.figures.every import write

        written += tables.write(write, found, to, say=typer.echo)
    for path in written:
        typer.echo(str(path))
    if not (csv or markdown or latex or figure):
        style = {"anchors": anchors, "protocol": protocol}
        shown = tables.console()
        tables.print_terminal(found, shown, test=test, published=with_published, **style)
    for fault in broken:
        _complain(fault)
    if broken:
        raise typer.Exit(EXIT_DATA)


@app.command()
def ladder(
    root: Root = None,
    dataset: Annotated[
        str | None,
        typer.Option(help="Dataset name; scans where a folder is given, else phantom."),
    ] = None,
    size: Size = 32,
    data: Data = None,
    metrics: Annotated[
        str | None,
        typer.Option("--metrics", "--suite", help="Metrics and suites; default: core."),
    ] = None,
    defects: Annotated[
        str | None, typer.Option(help="Names of defects: blur,copies; default: all.")
    ] = None,
    n: Annotated[
        int, typer.Option("-n", "--n", min=4, help="Volumes of a set, per class; at most a third.")
    ] = 64,
    seeds: Annotated[int, typer.Option(min=1, help="How often each defect is planted.")] = 3,
    draws: Annotated[int, typer.Option(min=10, help="Real draws, the yardstick.")] = 20,
    out: Out = Path("runs"),
    plugin: Plugin = None,
    as_json: Json = False,
) -> None:
    """Measure the metrics: plant defects in real volumes, and print which metric sees which.

    A strength in the table is the weakest from which on a defect lies outside what real draws of
    the same size reach. Nothing is trained.
    """
    from cerebench.benchmark.data import Source
    from cerebench.benchmark.display import choose
    from cerebench.benchmark.engine.store import replace
    from cerebench.benchmark.ladder import Request, measure
    from cerebench.benchmark.tables import console, print_ladder
    from cerebench.core.records.files import dump
    from cerebench.datasets.cache import default_cache
    from cerebench.reports.ladder import card, write

    name = dataset or ("scans" if root else "phantom")
    if root and name == "phantom":
        raise UsageError(f"phantom needs no files, got {root}. Give --dataset scans to read it.")
    request = Request(
        Source(name, root, size, _data_options(data) or {}),
        ["core"] if metrics is None else _names(metrics) or [],
        n=n,
        seeds=seeds,
        draws=draws,
        defects=_names(defects) or (),
        plugins=plugin or (),
        explicit=metrics is not None,
    )
    shown = choose(Console(stderr=True), silent=as_json)
    found, folder = measure(request, default_cache(), shown)
    record = out / folder / f"ladder-{found.key[:8]}.json"
    replace(record, found)
    written = [record, *write(found, out / folder / "report" / record.stem)]
    if as_json:
        typer.echo(json.dumps(dump(found), indent=1))
        return
    print_ladder(card(found), console())
    for path in written:
        shown.say(str(path))


@app.command(name="list")
def list_plugins(
    kind: Annotated[
        str | None,
        typer.Argument(
            help="methods, metrics, suites, datasets, protocols, extractors, experiments; else all."
        ),
    ] = None,
    plugin: Plugin = None,
    as_json: Json = False,
) -> None:
    """List what is installed, and why something cannot be used."""
    from cerebench.benchmark import listing
    from cerebench.benchmark.engine.registry import suggest

    if kind is not None and kind not in listing.KINDS:
        raise UsageError(suggest("kind of plugin", kind, list(listing.KINDS)))
    registries = _registries(plugin)
    found = {k: listing.rows(k, registries) for k in ([kind] if kind else listing.KINDS)}
    if as_json:
        typer.echo(json.dumps(found[kind] if kind else found, indent=1))
        return
    from cerebench.benchmark.tables import console, print_rows

    for title, rows in found.items():
        print_rows(title, rows, console())


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A method, metric, protocol, dataset, experiment …")],
    plugin: Plugin = None,
    as_json: Json = False,
) -> None:
    """Show a plugin whole: settings with bounds and sources, parameters, recipe, departures."""
    from cerebench.benchmark import listing

    found = listing.show(name, _registries(plugin))
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    from cerebench.benchmark.tables import print_object

    print_object(found, Console())


@app.command()
def sample(
    cell: Annotated[Path, typer.Argument(help="Folder of a trained cell: runs/…/seed-0.")],
    n: Annotated[
        int, typer.Option("-n", "--n", min=1, max=100_000, help="Samples per class.")
    ] = 64,
    device: Device = "auto",
    plugin: Plugin = None,
) -> None:
    """Extend the samples of a trained cell; those already there stay as they are."""
    from cerebench.benchmark.cells import extend_samples
    from cerebench.benchmark.display import choose

    _check_device(device)
    extend_samples(cell, n, device, _registries(plugin), choose(Console()))


@data_app.command("check")
def data_check(
    root: Root = None,
    dataset: Dataset = "scans",
    size: Size = 32,
    data: Data = None,
    skip_bad: SkipBad = False,
    same_axes: SameAxes = False,
    trust_headers: TrustHeaders = False,
    split: Split = None,
    as_json: Json = False,
) -> None:
    """Say what a folder is and what is wrong with it, before any training.

    Exit code 3 when something would be wrong in a run.
    """
    from cerebench.benchmark import data as work
    from cerebench.benchmark.display import choose

    headers = _headers(same_axes, trust_headers)
    source = _source(dataset, root, size, data, split, headers, skip_bad)
    found = work.check(_registries(None), source, choose(Console(stderr=True), silent=as_json))
    if as_json:
        typer.echo(json.dumps(found, indent=1))
    else:
        work.print_check(found, Console())
    if any(f["severity"] == "error" for f in found["findings"]):
        raise typer.Exit(EXIT_DATA)


@data_app.command("prepare")
def data_prepare(
    root: Root = None,
    dataset: Dataset = "scans",
    size: Size = 32,
    data: Data = None,
    skip_bad: SkipBad = False,
    same_axes: SameAxes = False,
    trust_headers: TrustHeaders = False,
    split: Split = None,
    as_json: Json = False,
) -> None:
    """Preprocess every case once into the cache and print the fingerprint.

    Uses all cores; interrupted, the same command continues.
    """
    from cerebench.benchmark import data as work
    from cerebench.benchmark.display import choose

    headers = _headers(same_axes, trust_headers)
    source = _source(dataset, root, size, data, split, headers, skip_bad)
    shown = choose(Console(stderr=as_json), silent=as_json)
    made = work.prepare(_registries(None), source, shown)
    if as_json:
        typer.echo(json.dumps(made, indent=1))
        return
    for name in ("fingerprint", "recipe", "folder", "split"):
        shown.say(f"{name} {made[name]}")


@data_app.command("export")
def data_export(
    out: Annotated[Path, typer.Argument(help="New folder to write to.")],
    root: Annotated[Path | None, typer.Argument(help="Folder of the files, or a manifest.")] = None,
    dataset: Dataset = "scans",
    size: Size = 32,
    data: Data = None,
    skip_bad: SkipBad = False,
    same_axes: SameAxes = False,
    trust_headers: TrustHeaders = False,
    split: Split = None,
) -> None:
    """Write the prepared volumes and masks as a BIDS derivative, with the split."""
    from cerebench.benchmark import data as work
    from cerebench.benchmark.display import choose

    headers = _headers(same_axes, trust_headers)
    source = _source(dataset, root, size, data, split, headers, skip_bad)
    work.export(_registries(None), source, out, choose(Console()))
    typer.echo(str(out))


def _source(
    dataset: str,
    root: Path | None,
    size: int,
    options: list[str] | None,
    split: str | None,
    headers: dict[str, str],
    skip_bad: bool,
) -> Source:
    from cerebench.benchmark.data import Source

    every = {**(_data_options(options) or {}), **headers}
    return Source(dataset, root, size, every, None, split or "", skip_bad)


@app.command()
def check(
    name: Annotated[
        str, typer.Argument(help="A method, installed or of a --plugin file; or a metric.")
    ],
    plugin: Plugin = None,
    as_json: Json = False,
) -> None:
    """Run the conformance suite on a method, also on a GPU that is not there; measure a metric.

    "not shown" is what cannot be told without a real one. A metric gets the card of bench ladder
    on phantoms: which planted defects it sees. One that is inverted ends with exit code 4.
    """
    from cerebench.benchmark import conformance

    registries = _registries(plugin)
    if name in registries.metrics.names() and name not in registries.methods.names():
        _check_metric(name, registries, as_json=as_json)
        return
    results = conformance.check(name, registries)
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(r) for r in results], indent=1))
    else:
        conformance.print_results(name, results, Console())
    if any(r.outcome == conformance.FAILED for r in results):
        raise typer.Exit(EXIT_SOME_FAILED)


def _check_metric(name: str, registries: Registries, *, as_json: bool) -> None:
    from cerebench.benchmark.display import choose
    from cerebench.benchmark.ladder import of_metric
    from cerebench.benchmark.tables import console, print_ladder
    from cerebench.core.records.files import dump
    from cerebench.datasets.cache import default_cache
    from cerebench.reports.ladder import card

    shown = choose(Console(stderr=True), silent=as_json)
    found = of_metric(name, default_cache(), shown)
    laid = card(found)
    if as_json:
        typer.echo(json.dumps(dump(found), indent=1))
    else:
        print_ladder(laid, console())
    if not laid.judged or (laid.inverted and not registries.metrics.load(name).never_bold):
        raise typer.Exit(EXIT_SOME_FAILED)


@new_app.command("method")
def new_method(
    name: Annotated[str, typer.Argument(help="Name of the method: lower case, digits, hyphens.")],
    folder: Annotated[Path, typer.Option(help="Where the folder is written.")] = Path("."),
) -> None:
    """Write a method that runs: an installable package of one file."""
    from cerebench.benchmark.scaffold import new_method as write

    package, module = write(name, folder)
    typer.echo(f"Wrote {package}/. It runs as it is:")
    typer.echo(f"  bench check {name} --plugin {module}")
    typer.echo(f"  bench run --methods all,{name} --plugin {module}")
    typer.echo(f"Or install it: pip install -e {package}; then bench run --methods all,{name}")


@weights_app.command("list")
def weights_list(as_json: Json = False) -> None:
    """List the weight files that extractors and methods can use, and where they were found."""
    from cerebench.benchmark.tables import print_rows
    from cerebench.core import weights

    rows = weights.status()
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
    else:
        print_rows("weights", rows, Console())


@weights_app.command("import")
def weights_import(
    file: Annotated[Path, typer.Argument(help="A weight file; recognised by its SHA-256.")],
) -> None:
    """Verify a weight file and copy it to where it is found offline."""
    from cerebench.core import weights

    typer.echo(f"Imported {weights.import_file(file)}.")


@app.command()
def doctor(as_json: Json = False) -> None:
    """Report versions, devices, weights, disk and offline readiness."""
    from cerebench.benchmark import doctor as examination

    found = examination.examine()
    if as_json:
        typer.echo(json.dumps(found, indent=1))
    else:
        examination.print_findings(found, Console())


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True)
    ] = False,
) -> None:
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"cerebench {installed('cerebench')}")
        raise typer.Exit
