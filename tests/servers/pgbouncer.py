"""A pgbouncer in transaction mode before a test's PostgreSQL server: Debian's package, with its defaults."""

from __future__ import annotations

import os
import shutil
import socket

import pytest

from tests.servers.postgres import USER, PostgresServer, as_unprivileged, hand_over
from tests.servers.server import Server


def binary() -> str | None:
    """Where pgbouncer is, or None."""
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


class PgBouncer(Server):
    """A pooler that gives its clients no session.

    Args:
        server: what it stands before. server_connections: how many it opens for all its clients.
    """

    NAME = "pgbouncer"

    def __init__(self, server: PostgresServer, server_connections: int = 3) -> None:
        super().__init__()
        self._server = server
        self._server_connections = server_connections
        self._config = self.folder / "config"

    def _prepare(self) -> None:
        users = self.folder / "users"
        users.write_text(f'"{USER}" "{self._server.password}"\n')
        self._config.write_text(
            f"[databases]\n* = host=127.0.0.1 port={self._server.port}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\n"
            f"auth_type = scram-sha-256\nauth_file = {users}\n"
            f"pool_mode = transaction\ndefault_pool_size = {self._server_connections}\nmax_client_conn = 200\n"
        )
        hand_over(self.folder, users, self._config)

    def _command(self) -> list[str]:
        found = binary()
        assert found is not None, "install Debian's `pgbouncer`"
        return [*as_unprivileged(), found, str(self._config)]

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def require_binary() -> None:
    """Skips the test where there is no pgbouncer, and fails it where CI=true."""
    if binary() is None:
        message = "pgbouncer is missing: install Debian's `pgbouncer`"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)
