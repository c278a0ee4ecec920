"""What is wrong with a connection is said in one line, with the remedy and without the password."""

from __future__ import annotations

import datetime
import ipaddress
import logging
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kodosumi.config import Settings
from kodosumi.error import ConfigurationError, KodosumiError, StoreUnavailable
from kodosumi.store import connect_store
from tests.integration.store.conftest import MakeStore
from tests.servers.postgres import USER, PostgresServer

SECRET = "s3cret-but-wr0ng"


async def reason(url: str, make_store: MakeStore, kind: type[KodosumiError] = ConfigurationError) -> str:
    """Why a store can't be used, as its user is told; always one line without a password."""
    with pytest.raises(kind) as raised:
        await make_store(url, connect_timeout_s=5).check()
    line = str(raised.value)
    assert "\n" not in line and SECRET not in line
    return line


async def test_what_cannot_get_better_is_a_setting_to_correct(
    postgres_server: PostgresServer, make_store: MakeStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    at = f"127.0.0.1:{postgres_server.port}"
    scheme = "postgresql+asyncpg://"

    wrong_password = await reason(f"{scheme}{USER}:{SECRET}@{at}/postgres", make_store)
    no_user = await reason(f"{scheme}nobody-here:{SECRET}@{at}/postgres", make_store)
    no_database = await reason(postgres_server.url("nothing_here"), make_store)
    no_host = await reason(f"{scheme}{USER}:{SECRET}@nowhere.invalid/db", make_store)
    no_tls = await reason(postgres_server.url(sslmode="require"), make_store)
    no_file = await reason(postgres_server.url(sslmode="verify-full", sslrootcert="/no/such.pem"), make_store)
    unreadable = await _refused(f"{scheme}{USER}:{SECRET}@@{at}/db")

    assert "password" in wrong_password and "KODO_EXECUTION_DATABASE" in wrong_password
    assert "nobody-here" in no_user
    assert "createdb nothing_here" in no_database
    assert "host" in no_host and "nowhere.invalid" in no_host
    assert "TLS" in no_tls and "sslmode" in no_tls
    assert "sslrootcert=/no/such.pem" in no_file
    assert "percent-encoded" in unreadable
    _nothing_secret(caplog, postgres_server)


async def test_what_may_get_better_is_worth_another_attempt(
    postgres_server: PostgresServer, make_store: MakeStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        line = await reason(f"postgresql://{USER}:{SECRET}@127.0.0.1:{port}/db", make_store, StoreUnavailable)
        assert "nothing listens there" in line and f"127.0.0.1:{port}" in line

    name = postgres_server.create_database(migrated=False)
    assert "koco db --upgrade" in await reason(postgres_server.url(name), make_store, StoreUnavailable)
    postgres_server.execute(f"ALTER DATABASE {name} WITH CONNECTION LIMIT 0")
    postgres_server.execute("CREATE ROLE guest LOGIN PASSWORD 'guest-of-the-house'")
    guest = f"postgresql://guest:guest-of-the-house@127.0.0.1:{postgres_server.port}/{name}"
    assert "max_connections" in await reason(guest, make_store, StoreUnavailable)
    postgres_server.drop_database(name)
    _nothing_secret(caplog, postgres_server)


async def test_a_privilege_that_is_missing_is_named(postgres_server: PostgresServer, make_store: MakeStore) -> None:
    name = postgres_server.create_database()
    postgres_server.execute("CREATE ROLE reader LOGIN PASSWORD 'reads-a-lot'")
    url = f"postgresql://reader:reads-a-lot@127.0.0.1:{postgres_server.port}/{name}"
    assert "permission denied for table execution_tally" in await reason(url, make_store, StoreUnavailable)
    postgres_server.execute(f"REVOKE CONNECT ON DATABASE {name} FROM public")
    assert "lacks a privilege" in await reason(url, make_store)
    postgres_server.drop_database(name)


def test_a_missing_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(ConfigurationError) as raised:
        connect_store(Settings(execution_database=f"postgresql+asyncpg://u:{SECRET}@h/db"))
    assert "install `kodosumi[postgres]`" in str(raised.value) and SECRET not in str(raised.value)


# TLS -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``ca.pem`` signed ``server.pem`` for 127.0.0.1; ``other.pem`` signed nothing."""
    folder = tmp_path_factory.mktemp("tls")
    key, authority = _certificate("our authority")
    _, other = _certificate("another authority")
    server_key, server = _certificate("server", issuer=(key, authority))
    for name, certificate in (("ca", authority), ("other", other), ("server", server)):
        (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "server.key").write_bytes(
        server_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return folder


@pytest.fixture(scope="module")
def tls_server(certificates: Path) -> Iterator[PostgresServer]:
    server = PostgresServer(tls=(certificates / "server.pem", certificates / "server.key"))
    try:
        try:
            server.start()
        except RuntimeError as exc:
            if "SSL is not supported" not in str(exc) or os.environ.get("CI") == "true":
                raise
            pytest.skip("this PostgreSQL cannot do TLS: install Debian's `postgresql`")
        yield server
    finally:
        server.remove()


async def test_a_certificate_is_verified_as_the_url_says(
    tls_server: PostgresServer, certificates: Path, make_store: MakeStore
) -> None:
    name = tls_server.create_database()
    for parameters in (
        {"sslmode": "verify-full", "sslrootcert": str(certificates / "ca.pem")},
        {"sslmode": "require"},
        {"ssl": "require"},
        {"ssl": "true"},
    ):
        store = make_store(tls_server.url(name, **parameters))
        await store.check()
        encrypted = await store._rows("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        assert encrypted[0][0] is True

    wrong = tls_server.url(name, sslmode="verify-full", sslrootcert=str(certificates / "other.pem"))
    assert "certificate is not trusted" in await reason(wrong, make_store)
    by_name = tls_server.url(name, sslmode="verify-full", sslrootcert=str(certificates / "ca.pem"))
    assert "certificate is not trusted" in await reason(by_name.replace("127.0.0.1", "localhost"), make_store)
    broken = tls_server.url(name, sslmode="verify-full", sslrootcert=str(certificates / "server.key"))
    assert "TLS" in await reason(broken, make_store)


def _certificate(
    name: str, issuer: tuple[ec.EllipticCurvePrivateKey, x509.Certificate] | None = None
) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[1].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if issuer is not None:
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
    return key, builder.sign(issuer[0] if issuer else key, hashes.SHA256())


async def _refused(url: str) -> str:
    with pytest.raises(ConfigurationError) as raised:
        connect_store(Settings(execution_database=url))
    assert SECRET not in str(raised.value)
    return str(raised.value)


def _nothing_secret(caplog: pytest.LogCaptureFixture, server: PostgresServer) -> None:
    assert SECRET not in caplog.text and server.password not in caplog.text
    assert "guest-of-the-house" not in caplog.text
