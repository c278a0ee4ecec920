"""What files cost: uploads and downloads through the panel against a bare Starlette app, memory, a large listing.

    python benchmarks/files.py [--mib 512] [--memory-mib 2048]

Panel and bare app are processes of their own over the same disk, measured by turns with the same client: threads with
plain sockets, so that the client costs little of the two cores. The bare app does the least that a correct one does: it
parses the form of a chunk as Starlette does and writes it to a file in a thread, and sends a file as ``FileResponse``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import httpx
import psutil
import uvicorn

from benchmarks.end_to_end import Figure

MIB = 1_048_576
CHUNK = bytes(range(256)) * (MIB // 256)
CLIENTS = 3
SMALL_FILES = 10_000
ROUNDS = 5
PASSWORD = "measured"
BOUNDARY = "-" * 20 + "kodosumi"


def serve(kind: str, folder: Path, ready: Connection) -> None:
    """A process that serves the panel or the bare app on a free port, which it tells."""
    app = _panel(folder) if kind == "panel" else _bare(folder)
    sock = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False))
    threading.Thread(target=_tell, args=(server, ready, sock.getsockname()[1]), daemon=True).start()
    server.run([sock])


def _tell(server: uvicorn.Server, ready: Connection, port: int) -> None:
    while not server.started:
        time.sleep(0.05)
    ready.send(port)


def _panel(folder: Path) -> Any:
    from kodosumi.service.app import create_app

    return create_app(
        admin_database=f"sqlite+aiosqlite:///{folder}/admin.db",
        admin_password=PASSWORD,
        secret_key="0" * 64,
        exec_dir=folder / "execution",
        upload_dir=folder / "uploads",
        event_transport="memory",
        execution_mode="memory",
        app_log_file=None,
        upload_quota=1 << 40,
    )


def _bare(folder: Path) -> Any:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import FileResponse, JSONResponse, Response
    from starlette.routing import Route

    async def chunk(request: Request) -> Response:
        async with request.form() as form:
            content = await form["chunk"].read()  # type: ignore[union-attr]
            path = folder / f"{form['upload_id']}-{form['chunk_number']}"
            await asyncio.to_thread(path.write_bytes, content)
        return JSONResponse({"status": "chunk received"}, 201)

    async def file(request: Request) -> Response:
        return FileResponse(folder / "large", media_type="application/octet-stream")

    return Starlette(routes=[Route("/files/chunk", chunk, methods=["POST"]), Route("/file", file)])


@contextmanager
def served(kind: str, folder: Path) -> Iterator[tuple[int, psutil.Process]]:
    """Serves one of them; gives its port and process."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(kind, folder, theirs))
    process.start()
    try:
        if not ours.poll(60):
            raise RuntimeError(f"the {kind} did not start")
        yield ours.recv(), psutil.Process(process.pid)
    finally:
        process.terminate()
        process.join(20)


class Caller:
    """One connection that is kept."""

    def __init__(self, port: int, key: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb", buffering=65_536)
        self._key = key

    def call(self, method: str, path: str, head: str = "", body: bytes = b"") -> int:
        """Sends a request, reads its answer, and gives how many bytes that had."""
        lines = f"{method} {path} HTTP/1.1\r\nHost: x\r\nKODOSUMI_API_KEY: {self._key}\r\n{head}"
        self._socket.sendall(f"{lines}Content-Length: {len(body)}\r\n\r\n".encode())
        if body:
            self._socket.sendall(body)
        status = self._file.readline()
        length = 0
        while (line := self._file.readline()) not in (b"\r\n", b""):
            if line.lower().startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        buffer, left = bytearray(MIB), length
        while left:
            count = self._file.readinto(memoryview(buffer)[: min(left, MIB)])
            if not count:
                raise RuntimeError("broken off")
            left -= count
        if not status.split()[1].startswith(b"2"):
            raise RuntimeError(f"{method} {path}: {status!r} {bytes(buffer[:length])!r}")
        return length

    def close(self) -> None:
        """Ends the connection."""
        self._file.close()
        self._socket.close()


def chunk_body(upload_id: str, number: int) -> bytes:
    """The form of one chunk."""
    fields = {"upload_id": upload_id, "chunk_number": str(number)}
    head = "".join(
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    )
    disposition = 'Content-Disposition: form-data; name="chunk"; filename="blob"'
    kind = "Content-Type: application/octet-stream"
    start = f"{head}--{BOUNDARY}\r\n{disposition}\r\n{kind}\r\n\r\n".encode()
    return start + CHUNK + f"\r\n--{BOUNDARY}--\r\n".encode()


def upload(port: int, key: str, upload_id: str, mib: int) -> float:
    """MB/s of an upload in chunks of a MiB, by several connections."""
    head = f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n"

    def send(first: int, caller: Caller) -> None:
        for number in range(first, mib, CLIENTS):
            caller.call("POST", "/files/chunk", head, chunk_body(upload_id, number))

    return _timed(port, key, send, mib)


def download(port: int, key: str, path: str, mib: int) -> float:
    """MB/s of a download by one connection."""
    began = time.perf_counter()
    caller = Caller(port, key)
    assert caller.call("GET", path) == mib * MIB
    caller.close()
    return mib * MIB / 1e6 / (time.perf_counter() - began)


def _timed(port: int, key: str, work: Callable[[int, Caller], None], mib: int) -> float:
    callers = [Caller(port, key) for _ in range(CLIENTS)]
    threads = [threading.Thread(target=work, args=each) for each in enumerate(callers)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken = time.perf_counter() - began
    for caller in callers:
        caller.close()
    return mib * MIB / 1e6 / taken


class Watch:
    """The most memory that a process had while the block ran, in MB above what it had at its beginning."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self._over = threading.Event()
        self.grown_mb = 0.0

    def __enter__(self) -> Watch:
        self._begin = self._process.memory_info().rss
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.1):
            self.grown_mb = max(self.grown_mb, (self._process.memory_info().rss - self._begin) / 1e6)


class Panel:
    """A client of the panel, logged in, with an execution of its own.

    Args:
        port: of the panel. folder: of its data.
    """

    def __init__(self, port: int, folder: Path) -> None:
        self.port = port
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=600)
        answer = self._http.post("/api/login", json={"name": "admin", "password": PASSWORD}).raise_for_status().json()
        self.key: str = answer["KODOSUMI_API_KEY"]
        self.fid = asyncio.run(_execution(folder, answer["id"]))
        self.folder = folder / "execution" / answer["id"] / self.fid

    def begin(self, name: str, chunks: int) -> str:
        """A new upload."""
        answer = self._http.post("/files/init", json={"filename": name, "total_chunks": chunks}).raise_for_status()
        upload_id: str = answer.json()["upload_id"]
        return upload_id

    def complete(self, upload_id: str, name: str, chunks: int) -> float:
        """Completes an upload; seconds that takes."""
        body = {"upload_id": upload_id, "filename": name, "total_chunks": chunks, "fid": self.fid}
        began = time.perf_counter()
        self._http.post("/files/complete/in", json=body).raise_for_status()
        return time.perf_counter() - began

    def listed(self, root: str) -> float:
        """Milliseconds of a list."""
        began = time.perf_counter()
        answer = self._http.get(f"/files/{self.fid}/{root}").raise_for_status()
        taken = time.perf_counter() - began
        assert len(json.loads(answer.content)) == SMALL_FILES
        return taken * 1000

    def zipped_mb(self) -> float:
        """MB of the archive of ``in``, read and thrown away."""
        with self._http.stream("GET", f"/files/{self.fid}/in?format=zip") as answer:
            answer.raise_for_status()
            return sum(len(piece) for piece in answer.iter_raw()) / 1e6


async def _execution(folder: Path, owner: str) -> str:
    from kodosumi.config import Settings
    from kodosumi.events import Batch, Event, EventKind, Position, new_fid
    from kodosumi.store import connect_store

    fid = new_fid()
    store = connect_store(Settings(exec_dir=folder / "execution"))
    await store.append(fid, owner, [Batch(Position(1, 1), [Event.now(EventKind.STATUS, "running")])])
    await store.close()
    return fid


def measure(mib: int = 512, memory_mib: int = 2048) -> list[Figure]:
    """All figures of files.

    Args:
        mib: size of a measured upload. memory_mib: size of what memory is watched with.
    """
    with tempfile.TemporaryDirectory(prefix="kodosumi-bench") as name:
        folder = Path(name)
        (folder / "bare").mkdir()
        with served("panel", folder) as (port, process), served("bare", folder / "bare") as (bare_port, _):
            panel = Panel(port, folder)
            return [
                *_speeds(panel, bare_port, folder, mib),
                *_memory(panel, process, memory_mib),
                _listing(panel),
            ]


def _speeds(panel: Panel, bare_port: int, folder: Path, mib: int) -> list[Figure]:
    up: dict[str, list[float]] = {"panel": [], "bare": []}
    down: dict[str, list[float]] = {"panel": [], "bare": []}
    upload(panel.port, panel.key, panel.begin("warm", 64), 64)
    upload(bare_port, "", "warm", 64)
    for turn in range(ROUNDS):
        upload_id = panel.begin("large", mib)
        up["panel"].append(upload(panel.port, panel.key, upload_id, mib))
        up["bare"].append(upload(bare_port, "", "large", mib))
        _say(f"turn {turn + 1}: upload {up['panel'][-1]:.0f} MB/s, bare {up['bare'][-1]:.0f}")
        panel.complete(upload_id, "large", mib)
        if not turn:
            (folder / "bare" / "large").write_bytes(b"")
            with (folder / "bare" / "large").open("wb") as large:
                for _ in range(mib):
                    large.write(CHUNK)
        down["panel"].append(download(panel.port, panel.key, f"/files/{panel.fid}/in/large", mib))
        down["bare"].append(download(bare_port, "", "/file", mib))
        _say(f"turn {turn + 1}: download {down['panel'][-1]:.0f} MB/s, bare {down['bare'][-1]:.0f}")
    return [_speed("upload", up), _speed("download", down)]


def _speed(what: str, measured: dict[str, list[float]]) -> Figure:
    ours, bare = (statistics.median(measured[each]) for each in ("panel", "bare"))
    name = f"{what} through the panel (bare Starlette: {bare:,.0f} MB/s)"
    return Figure(name, ours, "MB/s", round(min(150.0, 0.8 * bare), 1), True)


def _memory(panel: Panel, process: psutil.Process, mib: int) -> list[Figure]:
    with Watch(process) as uploading:
        upload_id = panel.begin("huge", mib)
        upload(panel.port, panel.key, upload_id, mib)
        _say(f"completing {mib} chunks: {panel.complete(upload_id, 'huge', mib):.1f} s")
    with Watch(process) as downloading:
        download(panel.port, panel.key, f"/files/{panel.fid}/in/huge", mib)
        began = time.perf_counter()
        _say(f"zip: {panel.zipped_mb() / (time.perf_counter() - began):.0f} MB/s")
    size = f"{mib / 1024:g} GiB"
    return [
        Figure(f"memory of the panel, {size} up", uploading.grown_mb, "MB more", 50),
        Figure(f"memory of the panel, {size} down and as ZIP", downloading.grown_mb, "MB more", 50),
    ]


def _listing(panel: Panel) -> Figure:
    (panel.folder / "out").mkdir(parents=True)
    for number in range(SMALL_FILES):
        (panel.folder / "out" / f"file-{number:05}.txt").write_bytes(b"small")
    panel.listed("out")
    taken = statistics.median(panel.listed("out") for _ in range(9))
    return Figure(f"list of {SMALL_FILES:,} files", taken, "ms", 200)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def main() -> None:
    """Prints one line a figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=512, help="size of a measured upload")
    parser.add_argument("--memory-mib", type=int, default=2048, help="size of what memory is watched with")
    options = parser.parse_args()
    for figure in measure(options.mib, options.memory_mib):
        print(f"{figure.name}: {figure.value:,.1f} {figure.unit} ({'met' if figure.met else 'missed'})", flush=True)


if __name__ == "__main__":
    main()
