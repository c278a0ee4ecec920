"""Panel, spooler, app and worker, each a process of its own that a test may kill, stop and start, and their client."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psutil
import psycopg

from kodosumi.cluster import Head
from kodosumi.postgres import dsn_of
from tests.conditions import until
from tests.servers.server import free_port, listens
from tests.sse import Message, messages, read_stream
from tests.stack import KOCO

FOLDER = Path(__file__).parent
DEADLINE_S = 120.0
LIST_NAMES = """
import ray
from kodosumi import cluster
from kodosumi.config import load_settings
cluster.attach(load_settings())
print(*(one["name"] for one in ray.util.list_named_actors(all_namespaces=True)))
"""


def wait_for(read: Callable[[], Any], holds: Callable[[Any], object] = bool, deadline_s: float = DEADLINE_S) -> Any:
    """:func:`tests.conditions.until` for plain code."""
    return asyncio.run(until(read, holds, deadline_s))


class Row(NamedTuple):
    """An event as it's stored, in the published columns."""

    seq: int
    kind: str
    payload: str


class Service:
    """One process, restartable, which leaves its output in a file.

    Args:
        name: of its log. command: what it is. folder: its current folder. environment: all of it.
    """

    def __init__(self, name: str, command: list[str], folder: Path, environment: Mapping[str, str]) -> None:
        self._command, self._folder, self._environment = command, folder, environment
        self.log = folder / f"{name}.out"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def rss_bytes(self) -> int:
        """Resident memory."""
        return int(psutil.Process(self.pid).memory_info().rss)

    def start(self) -> None:
        """Starts it anew and returns at once."""
        assert not self.alive
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=self._environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def send(self, number: signal.Signals) -> None:
        """Sends a signal; returns when the process is gone if that kills it."""
        os.kill(self.pid, number)
        if number == signal.SIGKILL:
            self.wait()

    def end(self) -> int:
        """Asks it to end as a service manager does, and returns its exit code."""
        if self.alive:
            os.kill(self.pid, signal.SIGCONT)
            os.kill(self.pid, signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """Its exit code, once it has ended; what doesn't end is killed."""
        assert self._process is not None
        try:
            return self._process.wait(90)
        finally:
            if self._process.poll() is None:
                os.killpg(self.pid, signal.SIGKILL)
                self._process.wait()


class Plant:
    """Panel, spooler and app on one Ray, and a worker in mode ``temporal``.

    Args:
        folder: where data and logs land. ray_server: None lets them find it.
        settings: further ``KODO_*`` variables by their field's name. environment: further variables.
    """

    def __init__(
        self, folder: Path, ray_server: str | None, environment: Mapping[str, str] | None = None, **settings: object
    ) -> None:
        self.folder = folder
        self._database = settings.get("execution_database")
        self.exec_dir = Path(str(settings.get("exec_dir", folder / "data" / "execution")))
        self.app_port, self._panel_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self._panel_port}"
        fields: dict[str, object] = {
            "app_server": self.url,
            "ray_server": ray_server,
            "register_flow": f"http://127.0.0.1:{self.app_port}/openapi.json",
            # Runs of another plant aren't this one's worker's, and an ending worker waits for nobody.
            "temporal_task_queue": f"plant-{self.app_port}",
            "temporal_drain_timeout": 0.5,
            # Two hundred launches at once take a busy machine longer than its panel waits by default.
            "proxy_timeout": 100.0,
            **settings,
        }
        inherited = {name: text for name, text in os.environ.items() if not name.startswith(("KODO_", "RAY_ADDRESS"))}
        own = {f"KODO_{name.upper()}": str(value) for name, value in fields.items() if value is not None}
        self.environment = {**inherited, "PYTHONUNBUFFERED": "1", **own, **(environment or {})}
        self.panel = Service("panel", [str(KOCO), "serve"], folder, self.environment)
        self.spooler = self.another_spooler("spooler")
        self.app = Service("app", _uvicorn("app:app", FOLDER, self.app_port), folder, self.environment)
        self.worker = self.another_worker("worker")
        self._durable = settings.get("execution_mode") == "temporal"
        self._threads = threading.local()
        self._clients: list[httpx.Client] = []

    def another_spooler(self, name: str, **settings: object) -> Service:
        """A spooler of the same settings but for those that are given, not started."""
        own = {f"KODO_{field.upper()}": str(value) for field, value in settings.items()}
        return Service(name, [str(KOCO), "spool", "--block"], self.folder, {**self.environment, **own})

    def another_worker(self, name: str) -> Service:
        """A worker of the same settings, not started."""
        return Service(name, [str(KOCO), "temporal-worker"], self.folder, self.environment)

    def another_app(self, name: str, application: str, folder: Path) -> tuple[Service, int]:
        """An app that uvicorn serves, not started, and its port."""
        port = free_port()
        return Service(name, _uvicorn(application, folder, port), self.folder, self.environment), port

    def registered(self, port: int) -> str:
        """The place under the panel of a started app, once the panel knows it."""
        wait_for(lambda: listens(port))
        source = {"url": f"http://127.0.0.1:{port}/openapi.json"}
        wait_for(lambda: self.client.post("/flow/register", json=source).status_code, lambda code: code == 201)
        return f"/-/127.0.0.1/{port}/-/"

    @property
    def client(self) -> httpx.Client:
        """A client of the first operator, each thread's own."""
        if not hasattr(self._threads, "client"):
            client = httpx.Client(base_url=self.url, timeout=120)
            self._clients.append(client)
            client.post("/api/login", json={"name": "admin", "password": "admin"}).raise_for_status()
            self._threads.client = client
        found: httpx.Client = self._threads.client
        return found

    def upgrade(self) -> None:
        """Brings its databases up to this version, as whoever runs it does first."""
        subprocess.run([str(KOCO), "db", "--upgrade"], cwd=self.folder, env=self.environment, check=True)

    def start(self) -> None:
        """Starts what doesn't run and returns when the panel finds everything well and serves the app."""
        for service in self.services:
            if not service.alive:
                service.start()
        self.until_well()

    @property
    def services(self) -> tuple[Service, ...]:
        """All that it consists of, in the order they're started."""
        return (self.spooler, self.panel, self.app, *([self.worker] if self._durable else []))

    def until_well(self) -> None:
        """Returns when the panel finds every part well and serves the app."""
        wait_for(lambda: listens(self._panel_port) and listens(self.app_port))
        wait_for(lambda: self.health().json()["reasons"], lambda reasons: reasons == [])
        wait_for(lambda: self.client.get(self.form).status_code, lambda code: code == 200)

    def stop(self) -> None:
        """Ends all of them."""
        for client in self._clients:
            client.close()
        self._clients, self._threads = [], threading.local()
        for service in reversed(self.services):
            if service.alive:
                service.end()

    def show_logs(self) -> None:
        """Prints the end of each process's output, for a failed test."""
        for path in sorted(self.folder.glob("*.out")):
            print(f"--- {path.name}\n{path.read_text(errors='replace')[-6000:]}")

    @property
    def form(self) -> str:
        """The endpoint's place under the panel."""
        return f"/-/127.0.0.1/{self.app_port}/-/"

    def health(self) -> httpx.Response:
        """The panel's view of all parts."""
        return self.client.get("/health")

    def ask(
        self, entry: str, *, place: str = "", headers: Mapping[str, str] | None = None, **inputs: object
    ) -> httpx.Response:
        """The panel's answer to a launch.

        Args:
            place: of the endpoint below the app's first. headers: further ones.
        """
        body = {"entry": entry, "inputs": json.dumps(inputs)}
        return self.client.post(self.form + place, json=body, headers=headers)

    def launch(self, entry: str, *, place: str = "", **inputs: object) -> str:
        """Launches an agent and returns the execution's id."""
        answer = self.ask(entry, place=place, **inputs)
        assert answer.status_code == 200, answer.text
        fid: str = answer.json()["result"]
        return fid

    def stream(self, fid: str) -> list[Message]:
        """All that a client reads of a run, to its end; checked: places without gap, one end."""
        *events, eof = read_stream(self.client, f"/outputs/stream/{fid}?extended=true")
        assert eof.kind == "eof"
        check_story([Row(event.seq, event.kind, event.payload) for event in events])
        return events

    def reading(self, fid: str) -> Future[list[Message]]:
        """What :meth:`stream` will have returned: a client that reads from now on, whatever happens meanwhile."""
        read: Future[list[Message]] = Future()

        def run() -> None:
            try:
                read.set_result(self.stream(fid))
            except BaseException as exc:
                read.set_exception(exc)

        threading.Thread(target=run, name=f"reading {fid}", daemon=True).start()
        return read

    @contextmanager
    def following(self, fid: str, after: int = 0) -> Iterator[Iterator[Message]]:
        """The live messages of a run, for as long as the block lasts."""
        headers = {"Last-Event-ID": str(after)} if after else {}
        with self.client.stream("GET", f"/outputs/stream/{fid}?extended=true", headers=headers) as response:
            yield messages(response.raise_for_status())

    def rows(self, fid: str) -> list[Row]:
        """What is stored of a run now, read past the panel, in the published columns."""
        if self._database is not None:
            with psycopg.connect(dsn_of(str(self._database))) as connection:
                query = "SELECT seq, kind, message FROM execution_events WHERE fid = %s ORDER BY seq"
                return [Row(*row) for row in connection.execute(query, [fid])]
        (path,) = self.exec_dir.glob(f"*/{fid}/sqlite3.db")
        with closing(sqlite3.connect(path, timeout=30)) as database:
            found = database.execute("SELECT id, kind, message FROM monitor ORDER BY id").fetchall()
        return [Row(*row) for row in found]

    def reached(self, fid: str) -> int:
        """The place of the newest event stored of a run; cheap, however many there are."""
        if self._database is not None:
            with psycopg.connect(dsn_of(str(self._database))) as connection:
                row = connection.execute("SELECT max(seq) FROM execution_events WHERE fid = %s", [fid]).fetchone()
        else:
            (path,) = self.exec_dir.glob(f"*/{fid}/sqlite3.db")
            with closing(sqlite3.connect(path, timeout=30)) as database:
                row = database.execute("SELECT max(id) FROM monitor").fetchone()
        return int(row[0] or 0) if row else 0

    def stored(self, fid: str, kind: str, number: int = 1) -> list[str]:
        """The payloads of a kind, once that many are stored."""

        def payloads() -> list[str]:
            return [row.payload for row in self.rows(fid) if row.kind == kind]

        # Cheap first: a burst is long, and its rows are many.
        wait_for(lambda: self.reached(fid), lambda seq: seq >= number)
        found: list[str] = wait_for(payloads, lambda told: len(told) >= number)
        return found

    def status(self, fid: str) -> str:
        """The state of a run."""
        return str(self.client.get(f"/outputs/status/{fid}?extended=true").raise_for_status().json()["status"])

    def steer(self, fid: str, action: str) -> str:
        """Pauses, resumes or cancels a run and returns its state."""
        return str(self.client.post(f"/outputs/{fid}/{action}").raise_for_status().json()["status"])


def _uvicorn(application: str, folder: Path, port: int) -> list[str]:
    """The command that serves an app."""
    command = [sys.executable, "-m", "uvicorn", application, "--app-dir", str(folder), "--log-level", "warning"]
    return [*command, "--port", str(port)]


def check_story(rows: list[Row]) -> None:
    """A whole run: places from 1 without gap, one end and nothing behind it."""
    assert [row.seq for row in rows] == list(range(1, len(rows) + 1))
    ends = [row.seq for row in rows if row.kind == "status" and row.payload in ("finished", "error")]
    assert ends == [len(rows)], rows[-3:]


def numbers(events: list[Message] | list[Row]) -> list[int]:
    """What an agent counted."""
    return [json.loads(event.payload)["int"] for event in events if event.kind == "result"]


def texts(events: list[Message] | list[Row], kind: str) -> list[str]:
    """The payloads of one kind."""
    return [event.payload for event in events if event.kind == kind]


def actors(head: Head, name: str) -> list[psutil.Process]:
    """The processes of a Ray that are actors of a class."""
    found = []
    for process in psutil.Process(head._keeper.pid).children(recursive=True):
        try:
            if process.cmdline()[0].startswith(f"ray::{name}"):
                found.append(process)
        except (psutil.Error, IndexError):
            continue
    return found


def actor(head: Head, name: str) -> psutil.Process:
    """The only actor of a class, once it's there."""
    found: list[psutil.Process] = wait_for(lambda: actors(head, name), lambda processes: len(processes) == 1)
    return found[0]


def named_actors(head: Head) -> list[str]:
    """The names of all living actors of ours that a Ray knows; asked by a process that joins it."""
    asked = subprocess.run(
        [sys.executable, "-c", LIST_NAMES],
        env={**os.environ, "KODO_RAY_SERVER": head.address},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=True,
    )
    return asked.stdout.split()
