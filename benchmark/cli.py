"""The command line: its commands, and how an error ends."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cerebench.benchmark import errors, signals
from cerebench.benchmark.commands import (
    check,
    data,
    doctor,
    evaluate,
    ladder,
    list,
    new,
    report,
    run,
    sample,
    show,
    verify,
    weights,
)
from cerebench.benchmark.commands.options import complain, in_home
from cerebench.benchmark.display import print_with_replacements
from cerebench.core.errors import EXIT_INTERNAL, EXIT_INTERRUPTED, UserError


class Commands(TyperGroup):
    """The commands; one that ends in ``sys.exit()`` of a plugin ends in an error."""

    def invoke(self, ctx: Any) -> Any:
        with errors.no_exit():
            try:
                return super().invoke(ctx)
            except KeyboardInterrupt:  # of which typer would make an exit code of its own
                raise errors.Interrupted from None


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
app.command(cls=run.Grouped)(run.run)
app.command()(evaluate.evaluate)
app.command()(report.report)
app.command()(ladder.ladder)
app.command("list")(list.list_plugins)
app.command()(show.show)
app.command()(sample.sample)
app.command()(check.check)
app.command()(verify.verify)
app.command()(doctor.doctor)
app.add_typer(data.app, name="data")
app.add_typer(new.app, name="new")
app.add_typer(weights.app, name="weights")


def main() -> None:
    """Run ``bench``: errors a user can act on end in one line and an exit code of their own."""
    print_with_replacements(sys.stdout, sys.stderr)
    try:
        with signals.heard(signals.interrupt):
            app(args=[in_home(argument) for argument in sys.argv[1:]])
    except (KeyboardInterrupt, errors.Interrupted):
        complain("Stopped. The same command continues where it stopped.")
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_INTERNAL)
    except errors.PluginExit as error:
        complain(str(error))
        sys.exit(EXIT_INTERNAL)
    except UserError as error:
        complain(str(error))
        sys.exit(error.exit_code)
    except (OSError, MemoryError, ValueError) as error:
        message, code = errors.of_machine(error)
        if not message:
            raise
        complain(message)
        sys.exit(code)


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
