"""``koco``: parses, builds settings, calls. Every command's work is done elsewhere."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from . import __version__
from .config import load_settings
from .error import ConfigurationError, KodosumiError
from .options import SERVE_OPTIONS, SPOOL_OPTIONS, TEMPORAL_OPTIONS, takes_settings

UNUSABLE = 2
"""Exit code when a setting or argument cannot be used."""

app = typer.Typer(
    name="koco",
    help="kodosumi: a runtime for agentic services. Each option also has a KODO_* variable; `.env` is read.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def koco(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options of all commands."""


@app.command()
@takes_settings(SERVE_OPTIONS)
def start(
    apps: Annotated[
        list[str] | None,
        typer.Option("--app", metavar="MODULE:NAME", help="Ray Serve application to run; may be given several times."),
    ] = None,
    app_dir: Annotated[
        Path | None,
        typer.Option("--app-dir", help="Folder the apps are imported from; the current one by default."),
    ] = None,
) -> None:
    """Run everything on this machine: Ray (joined or started), the apps, a spooler and the panel. Ctrl-C ends it."""
    from .start.stack import run_stack

    raise typer.Exit(run_stack(load_settings(), apps or [], app_dir))


@app.command()
@takes_settings(SERVE_OPTIONS)
def serve() -> None:
    """Run the panel."""
    from .service.server import run

    run(load_settings())


@app.command(name="apps")
def serve_apps(
    names: Annotated[list[str], typer.Argument(metavar="MODULE:NAME", help="Ray Serve applications to run.")],
    app_dir: Annotated[
        Path | None,
        typer.Option("--app-dir", help="Folder the apps are imported from; the current one by default."),
    ] = None,
    ready_file: Annotated[
        Path | None,
        typer.Option("--ready-file", help="File that is there while all apps answer, for probes."),
    ] = None,
) -> None:
    """Run apps on Ray Serve of the cluster that runs already, each at /PACKAGE. Ctrl-C removes them from there."""
    from .start.apps import run_apps

    run_apps(load_settings(), names, app_dir, ready_file)


@app.command()
@takes_settings(SPOOL_OPTIONS)
def spool(
    start: Annotated[bool, typer.Option("--start/--stop", help="Start a spooler, or stop the one that runs.")] = True,
    block: Annotated[bool, typer.Option("--block", help="Stay in the foreground.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Say whether one is alive: exit code 0, else 1.")] = False,
) -> None:
    """Run a spooler, which stores what the runs tell. Without --block it goes to the background and prints its pid."""
    from .start import spooling

    settings = load_settings()
    if status:
        from .start.spooler_status import spooler_status

        alive, text = spooler_status(settings)
        typer.echo(text)
        raise typer.Exit(0 if alive else 1)
    if not start:
        typer.echo("spooler stopped" if spooling.stop_spooler(settings) else "no spooler was running")
    elif block:
        spooling.spool_here(settings)
    else:
        typer.echo(spooling.spool_in_background(settings))


@app.command(name="temporal-worker")
@takes_settings(TEMPORAL_OPTIONS)
def temporal_worker(
    status: Annotated[
        bool, typer.Option("--status", help="Say which workers poll, and how many runs are open: exit code 0, else 1.")
    ] = False,
) -> None:
    """Run a worker for durable runs (KODO_EXECUTION_MODE=temporal). Any number may run; Ctrl-C leaves runs to them."""
    settings = load_settings()
    if status:
        from .start.worker_status import worker_status

        alive, text = worker_status(settings)
        typer.echo(text)
        raise typer.Exit(0 if alive else 1)
    from .temporal_worker import work_here

    work_here(settings)


@app.command()
def vacuum(
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="AGE", help="Only executions deleted longer ago: 7, 7d, 12h, 30m.")
    ] = "7d",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
) -> None:
    """Remove deleted executions with their files, and uploads that nobody goes on with (KODO_UPLOAD_MAX_AGE)."""
    from .start.vacuum import age_of, sweep

    removed = asyncio.run(sweep(load_settings(), age_of(older_than), dry_run=dry_run))
    verb = "would remove" if dry_run else "removed"
    typer.echo(f"{verb} {removed.executions} executions and {removed.uploads} uploads")


@app.command(name="db")
def database(
    context: typer.Context,
    upgrade: Annotated[bool, typer.Option("--upgrade", help="Bring every database up to this version.")] = False,
    downgrade: Annotated[
        str | None,
        typer.Option(
            "--downgrade",
            metavar="[DATABASE:]REVISION",
            help="Bring one database (`admin:0001`), or all (`0001`), down to a revision; `base` removes everything.",
        ),
    ] = None,
    current: Annotated[bool, typer.Option("--current", help="Show each database with its revision.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="As --current; exit code 1 when a database is not of this version.")
    ] = False,
    import_from: Annotated[
        Path | None,
        typer.Option(
            "--import",
            metavar="FOLDER",
            help="Bring a folder of SQLite executions into the database of KODO_EXECUTION_DATABASE.",
        ),
    ] = None,
) -> None:
    """Look after the schema of the databases that KODO_ADMIN_DATABASE and KODO_EXECUTION_DATABASE name."""
    given = [upgrade, downgrade is not None, current, check, import_from is not None]
    if sum(given) != 1:
        if sum(given) > 1:
            typer.echo("Give one of --upgrade, --downgrade, --current, --check and --import at a time.", err=True)
        else:
            typer.echo(context.get_help())
        raise typer.Exit(UNUSABLE)
    settings = load_settings()
    if import_from is not None:
        from .start.importing import import_folder

        raise typer.Exit(import_folder(settings, import_from))
    from .start import databases

    if upgrade:
        databases.upgrade(settings)
    elif downgrade is not None:
        for each, revision in databases.targets(settings, downgrade):
            if revision == "base" and databases.is_terminal():
                typer.confirm(f"Remove all tables of {each.name} ({each.shown}) and what is in them?", abort=True)
        databases.downgrade(settings, downgrade)
    elif check:
        raise typer.Exit(databases.check(settings))
    else:
        databases.show(settings)


@app.command()
def doctor(
    env_file: Annotated[
        Path | None, typer.Option("--env-file", metavar="FILE", help="Read settings from this file instead of `.env`.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Check every part that the settings name and say what to do. Changes nothing. Exit code 1: something is wrong."""
    from .doctor import run_doctor
    from .start.leaving import leave_at_once

    report = run_doctor(env_file, as_json=as_json)
    if report.unfinished:
        leave_at_once(report.exit_code)
    raise typer.Exit(report.exit_code)


run = typer.Typer(help="Steer a run that lives, in the name of the system's user.", no_args_is_help=True)
app.add_typer(run, name="run")

RunId = Annotated[str, typer.Argument(metavar="FID", help="The execution's id.")]


@run.command()
def pause(fid: RunId) -> None:
    """Have a run wait at its next tracer call until it is resumed."""
    _steer("pause", fid)


@run.command()
def resume(fid: RunId) -> None:
    """Let a paused run go on."""
    _steer("resume", fid)


@run.command()
def cancel(fid: RunId) -> None:
    """End a run: its code gets five seconds to clean up. What it told so far is kept."""
    _steer("cancel", fid)


def _steer(action: str, fid: str) -> None:
    from .start.steering import Action, steer

    typer.echo(asyncio.run(steer(load_settings(), Action(action), fid)))


def main() -> None:
    """Entry point of ``koco``: errors of ours are one plain line, no traceback."""
    from .log import last_words
    from .start.leaving import leave

    code: object = 0
    try:
        app()
    except SystemExit as exc:
        code = exc.code
    except ConfigurationError as exc:
        last_words(str(exc))
        code = UNUSABLE
    except KodosumiError as exc:
        last_words(str(exc))
        code = 1
    leave(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    main()
