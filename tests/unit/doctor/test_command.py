"""`koco doctor` as a whole: what it prints, its exit code, what it leaves alone, and that it never hangs."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kodosumi.config import Settings
from kodosumi.doctor import Finding, State, checkup, examine
from kodosumi.doctor.report import fine
from tests.doctor import held_port, settings, without_our_variables


def doctor(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs the command in a folder, as somebody would who has just installed it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("KODO_", "RAY_"))}
    with held_port() as ray, held_port() as serve:
        quiet = {
            "KODO_RAY_SERVER": f"127.0.0.1:{ray}",
            "KODO_SERVE_PORT": str(serve),
            "PYTHONIOENCODING": "utf-8",
        }
        return subprocess.run(
            [sys.executable, "-m", "kodosumi.cli", "doctor", *arguments],
            cwd=folder,
            env={**kept, **quiet, **variables},
            capture_output=True,
            text=True,
            timeout=120,
        )


def test_it_says_what_is_wrong_exits_with_1_and_makes_nothing(tmp_path: Path) -> None:
    with held_port() as panel:
        (tmp_path / ".env").write_text(f"KODO_APP_SERVER=http://127.0.0.1:{panel}\nKODO_ADMIN_PASWORD=hush-hush\n")
        done = doctor(tmp_path)
    assert (done.returncode, done.stderr) == (1, "")
    assert "✗ cluster" in done.stdout and "KODO_RAY_SERVER" in done.stdout
    assert "! KODO_ADMIN_PASWORD" in done.stdout and "Did you mean KODO_ADMIN_PASSWORD?" in done.stdout
    assert "hush-hush" not in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == [".env"]


def test_programs_get_json(tmp_path: Path) -> None:
    other = tmp_path / "other.env"
    other.write_text("KODO_APP_WORKERS=many\n")
    done = doctor(tmp_path, "--json", "--env-file", str(other))
    told = json.loads(done.stdout)
    assert (done.returncode, told["ok"]) == (1, False)
    assert "KODO_APP_WORKERS='many'" in told["findings"][-1]["text"]


async def test_every_secret_is_hidden_wherever_it_turns_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_our_variables(monkeypatch)
    monkeypatch.chdir(tmp_path)
    values = {name: f"Hidden-{name}-%2F" for name, field in Settings.model_fields.items() if not field.repr}
    values |= {
        "redis_url": "redis://u:Hidden%2Fredis@h/0?ssl_password=Hidden-query",
        "webhook_url": "https://u:Hidden-hook@h/",
        "execution_database": "postgresql+asyncpg://u:Hidden%40pg@h/d",
        "admin_database": "postgresql+asyncpg://u:Hidden-admin@h/d",
    }
    for name, value in values.items():
        monkeypatch.setenv(f"KODO_{name.upper()}", value)

    async def tell_all(given: Settings) -> AsyncIterator[Finding]:
        yield fine("all", " ".join([*values.values(), "Hidden/redis", "Hidden@pg"]))

    monkeypatch.setattr(checkup, "AREAS", {"all": tell_all})
    assert "Hidden" not in (await examine()).as_text()


async def test_an_area_that_hangs_or_breaks_holds_up_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hangs(given: Settings) -> AsyncIterator[Finding]:
        yield fine("first", "quick")
        await asyncio.Event().wait()

    async def breaks(given: Settings) -> AsyncIterator[Finding]:
        raise ValueError("odd")
        yield

    async def works(given: Settings) -> AsyncIterator[Finding]:
        yield fine("works", "well")

    without_our_variables(monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(checkup, "AREA_TIMEOUT_S", 0.05)
    monkeypatch.setattr(checkup, "AREAS", {"a": hangs, "b": breaks, "c": works})
    report = await examine()
    states = {area: [finding.state for finding in findings] for area, findings in report.areas.items() if area in "abc"}
    assert states == {"a": [State.OK, State.WRONG], "b": [State.WRONG], "c": [State.OK]}
    assert report.unfinished and report.exit_code == 1


def test_what_is_no_secret_is_not_hidden(tmp_path: Path) -> None:
    assert checkup.secrets_of(settings(tmp_path)) == set()
