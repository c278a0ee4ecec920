"""A pgbouncer in transaction mode before a test's PostgreSQL server: Debian's package, with its defaults."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from tests.servers.postgres import USER, PostgresServer, as_unprivileged, free_port, unprivileged

START_S = 20.0


def binary() -> str | None:
    """Where pgbouncer is, or None."""
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


class PgBouncer:
    """Starts at once.

    Args:
        server: what it stands before. server_connections: how many it opens for all its clients.
    """

    def __init__(self, server: PostgresServer, server_connections: int = 3) -> None:
        found = binary()
        assert found is not None, "install Debian's `pgbouncer`"
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="kpb", dir="/tmp"))
        users, config = self.folder / "users", self.folder / "config"
        users.write_text(f'"{USER}" "{server.password}"\n')
        config.write_text(
            f"[databases]\n* = host=127.0.0.1 port={server.port}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\n"
            f"auth_type = scram-sha-256\nauth_file = {users}\nlogfile = {self.folder / 'log'}\n"
            f"pool_mode = transaction\ndefault_pool_size = {server_connections}\nmax_client_conn = 200\n"
        )
        owner = unprivileged()
        if owner is not None:
            for path in (self.folder, users, config):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        self._process = subprocess.Popen(
            [*as_unprivileged(), found, "-q", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._await()

    def stop(self) -> None:
        """Ends it, with all that it kept."""
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _await(self) -> None:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self._process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        log = self.folder / "log"
        raise RuntimeError(f"pgbouncer did not start: {log.read_text() if log.exists() else 'no log'}")


def require_binary() -> None:
    """Skips the test where there is no pgbouncer, and fails it where CI=true."""
    if binary() is None:
        message = "pgbouncer is missing: install Debian's `pgbouncer`"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)
