"""Options come from the settings' fields: names, defaults, help, and their way into child processes."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from kodosumi import __version__
from kodosumi.cli import app
from kodosumi.config import Settings, load_settings
from kodosumi.options import SERVE_OPTIONS, SPOOL_OPTIONS, environment_of, export, variable_of

WIDE = {"COLUMNS": "400", "TERMINAL_WIDTH": "400"}


def test_the_version_is_the_packages() -> None:
    result = CliRunner().invoke(app, ["--version"])

    assert (result.exit_code, result.stdout.strip()) == (0, __version__)


@pytest.mark.parametrize(
    ("command", "options"), [("start", SERVE_OPTIONS), ("serve", SERVE_OPTIONS), ("spool", SPOOL_OPTIONS)]
)
def test_help_shows_the_variable_of_every_option(command: str, options: dict[str, str]) -> None:
    text = CliRunner().invoke(app, [command, "--help"], env=WIDE).stdout

    for option, field in options.items():
        assert option in text
        assert variable_of(field) in text


def test_every_option_is_a_field_of_the_settings() -> None:
    assert {*SERVE_OPTIONS.values(), *SPOOL_OPTIONS.values()} <= set(Settings.model_fields)


def test_help_never_shows_a_secret_default() -> None:
    text = CliRunner().invoke(app, ["serve", "--help"], env=WIDE).stdout

    assert Settings.model_fields["admin_password"].default not in text.replace("admin.db", "")


def test_options_reach_children_through_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KODO_APP_WORKERS", "2")
    for name in ("APP_SERVER", "REGISTER_FLOW", "APP_RELOAD"):
        # Set first, so that the test's end takes it away again.
        monkeypatch.setenv(f"KODO_{name}", "")
    given = {"app_server": "http://localhost:1234", "register_flow": ["http://a", "http://b"], "app_reload": True}

    export({**given, "ssl_ciphers": None})
    inherited = environment_of(load_settings())

    assert inherited["KODO_APP_SERVER"] == "http://localhost:1234"
    assert inherited["KODO_REGISTER_FLOW"] == "http://a,http://b"
    assert inherited["KODO_APP_RELOAD"] == "true"
    assert inherited["KODO_APP_WORKERS"] == "2"
    assert "KODO_SSL_CIPHERS" not in inherited


def test_settings_of_an_env_file_reach_children_in_other_folders(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("KODO_LOCK_EXPIRES=5\n")
    monkeypatch.chdir(tmp_path)

    assert environment_of(load_settings())["KODO_LOCK_EXPIRES"] == "5.0"
