"""URLs of PostgreSQL, and errors that only a sick network or a foreign driver makes."""

from __future__ import annotations

import socket
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from kodosumi.error import ConfigurationError
from kodosumi.postgres import dsn_of, explain, permanent, shown, sqlstate

NAME = "KODO_ADMIN_DATABASE"


@pytest.mark.parametrize("password", ["plain", "a@b", "a/b?c#d", "p:w", "100%", "ü €", "%40"])
@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+asyncpg", "postgresql+psycopg", "postgres"])
def test_a_password_survives_whatever_is_in_it(scheme: str, password: str) -> None:
    from urllib.parse import quote

    url = f"{scheme}://ann:{quote(password, safe='')}@db.example:5433/runs"
    parts = urlsplit(dsn_of(url))
    assert (parts.scheme, parts.hostname, parts.port, parts.path) == ("postgresql", "db.example", 5433, "/runs")
    assert unquote(parts.password or "") == password
    assert shown(url) == "postgresql://ann@db.example:5433/runs"


def test_characters_that_sqlalchemy_takes_unencoded_are_taken_too() -> None:
    assert unquote(urlsplit(dsn_of("postgresql://ann:a/b?c#d@h/db")).password or "") == "a/b?c#d"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("sslmode=verify-full&sslrootcert=/ca.pem", {"sslmode": "verify-full", "sslrootcert": "/ca.pem"}),
        ("ssl=verify-ca", {"sslmode": "verify-ca"}),
        ("ssl=true", {"sslmode": "require"}),
        ("ssl=false", {"sslmode": "disable"}),
        ("ssl=require&sslmode=disable", {"sslmode": "disable"}),
        ("host=a:1&host=b:2", {"host": "a:1,b:2"}),
        ("channel_binding=require&connect_timeout=5&keepalives_idle=3&prepared_statement_cache_size=0", {}),
        ("application_name=mine", {"application_name": "mine"}),
        ("target_session_attrs=read-write", {"target_session_attrs": "read-write"}),
    ],
)
def test_parameters_mean_what_they_mean_to_others(given: str, expected: dict[str, str]) -> None:
    query = {key: values[0] for key, values in parse_qs(urlsplit(dsn_of(f"postgresql://u@h/db?{given}")).query).items()}
    assert query == {"application_name": "kodosumi"} | expected


def test_several_hosts_and_sockets_are_kept() -> None:
    assert "@a:1,[::1]:2/db" in dsn_of("postgresql+asyncpg://u:p@a:1,[::1]:2/db")
    assert "host=%2Frun%2Fpg" in dsn_of("postgresql+asyncpg://u:p@/db?host=/run/pg")
    assert shown("postgresql+asyncpg://u:p@/db?host=/run/pg&password=hidden") == "postgresql://u@/run/pg/db"


@pytest.mark.parametrize(
    "url", ["", "postgresql", "mysql://u:hidden@h/db", "postgresql://u:hid@den@h/db", "postgresql://u:hidden@h:port/db"]
)
def test_what_cannot_be_read_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        dsn_of(url)
    assert "hid" not in str(raised.value) and "percent-encoded" in str(raised.value)
    assert shown(url) == "postgresql://…"
    assert "hid" not in explain(ValueError(url), url, NAME)


class Coded(Exception):
    """An error as drivers raise it."""

    def __init__(self, text: str, sqlstate: str | None = None) -> None:
        super().__init__(text)
        self.sqlstate = sqlstate


class Wrapped(Exception):
    """An error as SQLAlchemy raises it."""

    def __init__(self, orig: Exception) -> None:
        super().__init__(f"(driver) {orig}\n[SQL: SELECT 1]\n(Background on this error …)")
        self.orig = orig


@pytest.mark.parametrize(
    ("exc", "state", "lasting", "said"),
    [
        (Coded("no", "28P01"), "28P01", True, "password of user"),
        (Wrapped(Coded("no", "3D000")), "3D000", True, "createdb runs"),
        (Coded('FATAL:  password authentication failed for user "ann"'), "28P01", True, "password of user"),
        (Coded("no such database: runs", "08P01"), "3D000", True, "createdb runs"),
        (Coded("no more connections allowed (max_client_conn)", "08P01"), "53300", False, "max_connections"),
        (Coded("could not extend file: File too large", "XX000"), "53100", False, "disk is full"),
        (Coded("no pg_hba.conf entry for host, no encryption", "28000"), "28000", True, "sslmode=require"),
        (Coded("the database system is starting up", "57P03"), "57P03", False, "starting"),
        (Coded('relation "roles" does not exist', "42P01"), "42P01", False, "koco db --upgrade"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), None, True, "host name is unknown"),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure"), None, False, "host name is unknown"),
        (ConnectionRefusedError(111, "Connect call failed"), None, False, "nothing listens there"),
        (TimeoutError(), None, False, "does not answer in time"),
        (ConnectionError('PostgreSQL server at "h:1" rejected SSL upgrade'), None, True, "offers no TLS"),
        (ConnectionResetError(104, "reset by peer"), None, False, "connection was lost"),
        (Coded("something about s3cr3t"), None, False, "something about …"),
    ],
)
def test_every_error_has_its_line_whichever_driver_raised_it(
    exc: Exception, state: str | None, lasting: bool, said: str
) -> None:
    line = explain(exc, "postgresql://ann:s3cr3t@db:5432/runs", NAME)
    assert said in line and "\n" not in line and "s3cr3t" not in line
    assert sqlstate(exc) == state
    assert permanent(exc) is lasting
