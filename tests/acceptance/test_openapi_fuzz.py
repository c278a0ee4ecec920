"""schemathesis over the panel's OpenAPI: whatever a client sends, the panel never fails.

The panel is one of its own (`koco serve`) with its own roles, sources and executions, so nothing that the fuzzer
deletes, disables or changes is anyone else's.
"""

from __future__ import annotations

import asyncio
import subprocess
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase
from schemathesis import Case, GenerationMode

from kodosumi.config import load_settings
from kodosumi.events import Batch, Event, EventKind, Position, new_fid
from kodosumi.store import connect_store
from tests.acceptance.agents.process import app_process, registered
from tests.conditions import until
from tests.servers.server import free_port, listens
from tests.stack import KOCO, StackProcess

EXAMPLES = 5
"""Requests per operation, mode and kind of path."""

METHODS = ("GET", "HEAD", "OPTIONS", "PATCH", "PUT", "POST", "DELETE")
"""In the order of fuzzing: what destroys comes last."""

LOGINS = ("/login", "/api/login")
"""Fuzzed after everything else: the panel stops listening to whoever fails so often."""

PROXY = "/-/{path}"
TRUTHFUL = {
    ("GET", "/health"): {503},
    **{(method, PROXY): {502, 504} for method in METHODS},
}
"""Answers of 500 and more that are true: no spooler serves this panel; what is no HTTP breaks off at the app."""

ENDS_SESSION = {("GET", "/logout"), ("POST", "/logout"), ("PUT", "/role/me")}
"""Operations that may end the session of who calls them: each gets a session of its own."""


class Target:
    """The panel that is fuzzed.

    Args:
        url: its address. fid: an ended execution in its store. app: path of a registered app below ``/-/``.
    """

    def __init__(self, url: str, fid: str, app: str) -> None:
        self.url = url
        self.admin = httpx.Client(base_url=url, timeout=60)
        self.admin.post("/api/login", json={"name": "admin", "password": "admin"}).raise_for_status()
        self.key = self.new_operator()
        self.known = {"fid": fid, "path": app}
        self.problems: list[str] = []
        self.statuses: dict[tuple[str, str], set[int]] = {}

    def new_operator(self) -> str:
        """API key of a new operator, whom the fuzzer may change and delete."""
        name = f"fuzzer-{uuid.uuid4().hex[:12]}"
        role = {"name": name, "email": f"{name}@example.com", "password": "fuzz", "operator": True}
        self.admin.post("/role", json=role).raise_for_status()
        answer = httpx.post(f"{self.url}/api/login", json={"name": name, "password": "fuzz"}, timeout=60)
        key: str = answer.raise_for_status().json()["KODOSUMI_API_KEY"]
        return key

    def fuzz(self, operation: Any, mode: GenerationMode, known: dict[str, str] | None) -> None:
        """Sends examples of one operation and notes every answer that is a failure of the panel.

        Args:
            operation: of the document. mode: valid requests, or broken ones.
            known: parts of the path that exist; made up by default.
        """
        place = (operation.method.upper(), operation.path)
        key = self.new_operator() if place in ENDS_SESSION else self.key
        seen = self.statuses.setdefault(place, set())

        @hypothesis.seed(20)
        @hypothesis.settings(
            max_examples=EXAMPLES,
            derandomize=True,
            deadline=None,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
        def send(case: Case) -> None:
            if known:
                case.path_parameters = {**(case.path_parameters or {}), **known}
            try:
                answer = case.call(
                    base_url=self.url, headers={"KODOSUMI_API_KEY": key}, timeout=90, allow_redirects=False
                )
            except (requests.exceptions.InvalidHeader, requests.exceptions.InvalidURL, UnicodeError):
                return  # what no client can send
            seen.add(answer.status_code)
            if answer.status_code >= 500 and answer.status_code not in TRUTHFUL.get(place, set()):
                self.problems.append(f"{answer.status_code} {case.as_curl_command()} -> {answer.text[:300]}")

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                send()
            except hypothesis.errors.Unsatisfiable:
                # An operation that takes nothing cannot be called wrongly.
                assert mode is GenerationMode.NEGATIVE, place


async def put_execution(exec_dir: Path) -> str:
    """The id of an ended execution that was put into a store by hand."""
    fid = new_fid()
    told = [
        (EventKind.STATUS, "starting"),
        (EventKind.INPUTS, '{"dict": {}}'),
        (EventKind.META, '{"dict": {"summary": "Fuzzed", "tags": ["a"]}}'),
        (EventKind.STATUS, "running"),
        (EventKind.STDOUT, "a line"),
        (EventKind.FINAL, '{"str": "done"}'),
        (EventKind.STATUS, "finished"),
    ]
    store = connect_store(load_settings(exec_dir=exec_dir))
    try:
        await store.append(fid, str(uuid.uuid4()), [Batch(Position(1, 1), [Event.now(*each) for each in told])])
    finally:
        await store.close()
    return fid


@contextmanager
def panel_process(stack: StackProcess, folder: Path) -> Iterator[str]:
    """`koco serve` in a folder of its own; gives its address."""
    port = free_port()
    url = f"http://localhost:{port}"
    own = {"KODO_APP_SERVER": url, "KODO_WAIT_FOR_JOB": "1", "KODO_PROXY_TIMEOUT": "5"}
    with (folder / "panel.log").open("wb") as output:
        process = subprocess.Popen(
            [str(KOCO), "serve"], cwd=folder, env={**stack.environment, **own}, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        asyncio.run(until(lambda: listens(port) and httpx.get(f"{url}/health/live").is_success, deadline_s=150))
        yield url
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def target(stack: StackProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("fuzzed")
    fid = asyncio.run(put_execution(folder / "data/execution"))
    with app_process(stack, "bad:app") as port, panel_process(stack, folder) as url:
        target = Target(url, fid, f"localhost/{port}/-/echo")
        with registered(target.admin, port):
            yield target
        target.admin.close()


@pytest.mark.timeout(600)
def test_no_operation_of_the_panel_fails_whatever_is_sent(target: Target) -> None:
    document = target.admin.get("/schema/openapi.json").raise_for_status().json()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        schema = schemathesis.openapi.from_dict(document)
        operations = [found.ok() for found in schema.get_all_operations()]
    # What ends sessions, deletes roles or exhausts the tries of a login comes last.
    operations.sort(key=lambda each: (each.path in LOGINS, METHODS.index(each.method.upper()), each.path))

    for operation in operations:
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            target.fuzz(operation, mode, None)
        existing = {name: value for name, value in target.known.items() if f"{{{name}}}" in operation.path}
        if existing:
            target.fuzz(operation, GenerationMode.POSITIVE, existing)

    assert target.problems == []
    assert len(target.statuses) == sum(len(item) for item in document["paths"].values())
    # The fuzzer was let in, everywhere: what only ever answers 401 was not tested.
    assert [place for place, seen in target.statuses.items() if seen <= {401, 403} and place[1] not in LOGINS] == []
    assert target.admin.get("/health/live").status_code == 200
