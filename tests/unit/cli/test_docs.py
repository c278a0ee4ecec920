"""Docs are tested: settings, commands and routes appear, links lead somewhere, the README's code is an example."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
import typer

from kodosumi.cli import app
from kodosumi.config import Settings
from kodosumi.events import EventKind

ROOT = Path(__file__).parents[3]
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*/README.md")]
)


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_references_are_up_to_date(generator: ModuleType) -> None:
    assert list(generator.stale()) == [], "run: make docs"


def test_every_setting_is_documented() -> None:
    text = (ROOT / "docs/reference/configuration.md").read_text()

    assert [name for name in Settings.model_fields if f"`KODO_{name.upper()}`" not in text] == []
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_every_command_and_option_is_documented(generator: ModuleType) -> None:
    text = (ROOT / "docs/reference/cli.md").read_text()

    names = []
    for name, command in generator.every_command(typer.main.get_command(app)):
        assert f"## {name}\n" in text
        names.append(name)
        for parameter in command.params:
            assert parameter.param_type_name == "argument" or all(f"`{option}`" in text for option in parameter.opts)
    assert {"koco start", "koco run pause"} <= set(names)


def test_every_route_is_documented() -> None:
    from kodosumi.service.app import create_app

    text = (ROOT / "docs/reference/routes.md").read_text()
    for path, operations in create_app().openapi()["paths"].items():
        for method in set(operations) - {"options", "head"}:
            assert f"`{method.upper()} {path}`" in text


def test_every_event_kind_is_documented() -> None:
    text = (ROOT / "docs/reference/events.md").read_text()

    assert [kind for kind in EventKind if f"| `{kind}` |" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", page.read_text())

    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_readme_shows_the_hello_example_as_it_is() -> None:
    assert (ROOT / "examples/hello/app.py").read_text() in (ROOT / "README.md").read_text()
