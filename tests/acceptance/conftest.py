"""One whole stack for the session, on the session's Ray; a Ray for plants; a client that is logged in; a browser."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from kodosumi import cluster
from kodosumi.cluster import Head
from kodosumi.config import Settings
from tests.conditions import until
from tests.stack import EXAMPLES, StackProcess

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

EXAMPLE_NAMES = ("hello", "forms", "prime", "my_service", "approval", "documents", "durable")
FLOWS = 8
"""Flows of the examples: one each, prime has two."""

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
QUIET = [
    "--no-sandbox",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
]
BROWSER_START_MS = 120_000.0
SCREENSHOTS = Path(os.environ.get("SCREENSHOTS", ".pytest_cache/screenshots"))


@pytest.fixture(scope="session")
def head() -> Iterator[Head]:
    """A Ray for the plants: queues and pools die on it, and the stack must not read their events."""
    temp_dir = Path(tempfile.mkdtemp(prefix="kf", dir="/tmp"))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setenv("RAY_prestart_worker_first_driver", "0")
        head = cluster.start_head(
            Settings(ray_server=None, _env_file=None),
            dashboard=False,
            temp_dir=temp_dir,
            num_cpus=16,
            object_store_bytes=200_000_000,
        )
    yield head
    head.stop()
    shutil.rmtree(temp_dir, ignore_errors=True)


@pytest.fixture(scope="session")
def stack(ray_cluster: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackProcess]:
    """`koco start` with all examples, ready."""
    arguments = ["--app-dir", str(EXAMPLES)]
    for name in EXAMPLE_NAMES:
        arguments += ["--app", f"{name}.app:fast_app"]
    with StackProcess(tmp_path_factory.mktemp("stack"), arguments) as running:
        yield running.until_ready()


@pytest.fixture(scope="session")
def admin(stack: StackProcess) -> Iterator[httpx.Client]:
    """A client of the first operator."""
    with httpx.Client(base_url=stack.url, timeout=60) as client:
        client.post("/api/login", json={"name": "admin", "password": "admin"}).raise_for_status()
        yield client


@pytest.fixture
async def flows(admin: httpx.Client) -> dict[str, str]:
    """The form address of each registered flow by its summary; they are there a moment after the start."""

    def listed() -> list[dict[str, str]]:
        items: list[dict[str, str]] = admin.get("/flow", params={"pp": 50}).raise_for_status().json()["items"]
        return items

    items = await until(listed, lambda found: len(found) >= FLOWS, deadline_s=120)
    return {item["summary"]: item["url"] for item in items}


def _browser_path() -> str | None:
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """Chromium; a test that needs it is skipped without one, and fails where CI=true."""
    from playwright.async_api import Error, async_playwright

    async with async_playwright() as playwright:
        try:
            chromium = await playwright.chromium.launch(
                executable_path=_browser_path(), args=QUIET, timeout=BROWSER_START_MS
            )
        except Error as exc:
            if os.environ.get("CI") == "true":
                raise
            pytest.skip(f"no Chromium (make browser): {exc.message.splitlines()[0]}")
        yield chromium
        await chromium.close()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Leaves the outcome where the page fixture finds it."""
    report = yield
    if report.when == "call":  # type: ignore[attr-defined]
        item.stash[OUTCOME] = report.failed  # type: ignore[attr-defined]
    return report  # type: ignore[return-value]


OUTCOME = pytest.StashKey[bool]()


@pytest.fixture
async def page(browser: Browser, stack: StackProcess, request: pytest.FixtureRequest) -> AsyncIterator[Page]:
    """A fresh page at the panel; errors of scripts fail the test, and a failed test leaves a screenshot."""
    context = await browser.new_context(base_url=stack.url)
    context.set_default_timeout(60_000)
    opened = await context.new_page()
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    yield opened
    if errors or request.node.stash.get(OUTCOME, False):
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        await opened.screenshot(path=SCREENSHOTS / f"{request.node.name}.png", full_page=True)
    await context.close()
    assert errors == []


def curl(line: str, folder: Path) -> str:
    """What a command line with curl prints, run by a shell in a folder."""
    quiet = line.replace("curl ", "curl -sS --fail-with-body ", 1)
    done = subprocess.run(quiet, shell=True, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    """Where agents look for a file that ends them; it is there after the test, whatever became of that."""
    path = tmp_path / "gate"
    yield path
    path.touch()
