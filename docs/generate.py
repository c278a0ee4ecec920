"""Writes the references that come from the code: settings, commands and routes.

``python docs/generate.py`` writes them, ``--check`` fails when one of them is not up to date.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer

from kodosumi.cli import app
from kodosumi.config import Settings
from kodosumi.options import SERVE_OPTIONS, SPOOL_OPTIONS, TEMPORAL_OPTIONS, default_text, variable_of

REFERENCE = Path(__file__).parent / "reference"
GENERATED = "<!-- Written by docs/generate.py; change the code instead. -->"
METHODS = ("get", "post", "put", "patch", "delete")


def configuration() -> str:
    """The reference of settings, one row each."""
    lines = [
        "# Configuration",
        GENERATED,
        "",
        "Every setting is an environment variable. Order: command line, environment, `.env` in the current folder,",
        "default. A setting that cannot be read stops the start with its name, its value and what would be valid.",
        "Options that are named here set the same thing on the command line.",
        "",
        "| variable | default | meaning | option |",
        "|---|---|---|---|",
    ]
    for name, field in Settings.model_fields.items():
        options = [f"`koco {command} {option}`" for command, option in _options_of(name)]
        default = f"`{default_text(field)}`" if default_text(field) not in {"unset", "none"} else default_text(field)
        lines.append(f"| `{variable_of(name)}` | {default} | {_cell(field.description)} | {', '.join(options)} |")
    return "\n".join(lines) + "\n"


def commands() -> str:
    """The reference of commands with their options."""
    lines = [
        "# Commands",
        GENERATED,
        "",
        "`koco` is the one command; `koco COMMAND --help` shows the same as this page.",
    ]
    for name, command in every_command(typer.main.get_command(app)):
        lines += ["", f"## {name}", "", " ".join(str(command.help).split())]
        if command.params:
            lines += ["", "| option | meaning |", "|---|---|"]
        for parameter in command.params:
            argument = parameter.param_type_name == "argument"
            names = [parameter.metavar] if argument else [*parameter.opts, *parameter.secondary_opts]
            lines.append(f"| {', '.join(f'`{text}`' for text in names)} | {_cell(parameter.help)} |")
    return "\n".join(lines) + "\n"


def every_command(group: Any, name: str = "koco") -> Iterator[tuple[str, Any]]:
    """Each command with its whole name; those of a group follow it."""
    for part, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from every_command(command, f"{name} {part}")
        else:
            yield f"{name} {part}", command


def routes() -> str:
    """The reference of the panel's routes, from its OpenAPI document."""
    from kodosumi.service.app import create_app

    document = create_app().openapi()
    lines = [
        "# Routes",
        GENERATED,
        "",
        "What the panel serves. A running panel shows the same with all schemas at `/schema`. Errors are JSON",
        "`{error, path, detail, status_code}`. Log in as [the quickstart](../quickstart.md) shows; scripts send the",
        "header `KODOSUMI_API_KEY` instead of the cookie.",
    ]
    for tag, operations in _by_tag(document).items():
        lines += ["", f"## {tag}", "", "| method and path | what it does |", "|---|---|"]
        lines += [f"| `{method.upper()} {path}` | {_cell(text)} |" for method, path, text in operations]
    return "\n".join(lines) + "\n"


PAGES: dict[str, Callable[[], str]] = {"configuration.md": configuration, "cli.md": commands, "routes.md": routes}


def stale(pages: dict[str, Callable[[], str]] = PAGES) -> Iterator[str]:
    """Names of pages that don't say what the code says."""
    for name, page in pages.items():
        path = REFERENCE / name
        if not path.exists() or path.read_text(encoding="utf-8") != page():
            yield name


def main() -> int:
    """Writes the pages, or checks them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail when a page is not up to date")
    if parser.parse_args().check:
        old = list(stale())
        for name in old:
            sys.stderr.write(f"docs/reference/{name} is not up to date: run make docs\n")
        return 1 if old else 0
    REFERENCE.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        (REFERENCE / name).write_text(page(), encoding="utf-8")
    return 0


def _options_of(field_name: str) -> Iterator[tuple[str, str]]:
    tables = (("serve", SERVE_OPTIONS), ("spool", SPOOL_OPTIONS), ("temporal-worker", TEMPORAL_OPTIONS))
    for command, options in tables:
        yield from ((command, option) for option, name in options.items() if name == field_name)


def _by_tag(document: dict[str, Any]) -> dict[str, list[tuple[str, str, str]]]:
    groups: dict[str, list[tuple[str, str, str]]] = {}
    for path, operations in sorted(document["paths"].items()):
        for method in METHODS:
            if operation := operations.get(method):
                tag = (operation.get("tags") or ["Other"])[0]
                text = operation.get("description") or operation.get("summary") or ""
                groups.setdefault(tag, []).append((method, path, text.split("\n\n")[0]))
    return dict(sorted(groups.items()))


def _cell(text: object) -> str:
    return " ".join(str(text or "").split()).replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
