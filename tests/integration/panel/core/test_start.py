"""What a panel needs to start, what it refuses, and what it keeps between starts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from kodosumi.config import load_settings
from kodosumi.error import ConfigurationError
from kodosumi.options import environment_of
from kodosumi.service.app import create_app
from kodosumi.service.database import AdminDatabase
from kodosumi.service.parts import opened_database
from kodosumi.service.secrets import secret_key
from kodosumi.service.server import bind

PUBLIC = {"app_server": "http://0.0.0.0:3370"}


def test_a_generated_secret_is_made_once_and_only_the_owner_reads_it(options: dict[str, Any], tmp_path: Path) -> None:
    settings = load_settings(**options)
    first = secret_key(settings)
    assert len(first) >= 32 and secret_key(settings) == first
    assert (tmp_path / "secret.key").stat().st_mode & 0o777 == 0o600


def _secret(folder: str) -> str:
    return secret_key(load_settings(admin_database=f"sqlite+aiosqlite:///{folder}/admin.db"))


def test_whoever_starts_at_once_shares_one_secret(tmp_path: Path) -> None:
    with ThreadPoolExecutor(9) as pool:
        secrets = set(pool.map(_secret, [str(tmp_path)] * 9))
    assert len(secrets) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["secret.key"]


def test_a_secret_that_cannot_be_kept_says_what_to_set(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="KODO_SECRET_KEY"):
        _secret(str(tmp_path / "file"))


def test_a_public_panel_needs_a_secret(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="KODO_SECRET_KEY"):
        secret_key(load_settings(**options | PUBLIC))
    assert secret_key(load_settings(**options | PUBLIC | {"secret_key": "given"})) == "given"


async def test_a_public_panel_needs_a_password_that_not_everybody_knows(options: dict[str, Any]) -> None:
    public = options | PUBLIC | {"secret_key": "s"}
    with pytest.raises(ConfigurationError, match="KODO_ADMIN_PASSWORD"):
        async with opened_database(load_settings(**public)):
            pass
    async with opened_database(load_settings(**public | {"admin_password": "better"})):
        pass
    async with opened_database(load_settings(**public)):
        pass  # the setting no longer matters: the role exists, with its own password


async def test_a_default_password_kept_from_loopback_stops_a_public_panel(options: dict[str, Any]) -> None:
    async with opened_database(load_settings(**options)):
        pass
    with pytest.raises(ConfigurationError, match="default password"):
        async with opened_database(load_settings(**options | PUBLIC | {"secret_key": "s", "admin_password": "better"})):
            pass


async def test_a_whole_public_panel_refuses_to_start_unsafe(options: dict[str, Any]) -> None:
    app = create_app(**options | PUBLIC | {"secret_key": "s"})
    with pytest.raises(ConfigurationError):
        async with app.router.lifespan_context(app):
            pass


@pytest.mark.parametrize(
    "url",
    ["nonsense", "sqlite:///x.db", "what+ever://x", "postgresql://u:hidden@h/n", "sqlite+aiosqlite:////proc/x.db"],
)
async def test_an_admin_database_that_cannot_be_used_is_named_without_its_password(url: str) -> None:
    with pytest.raises(ConfigurationError, match="KODO_ADMIN_DATABASE") as caught:
        await AdminDatabase(load_settings(admin_database=url)).open()
    assert "hidden" not in str(caught.value)


async def test_sessions_and_roles_survive_a_restart(
    options: dict[str, Any], store: Any, transport: Any, mode: Any
) -> None:
    key = None
    for _ in range(2):
        app = create_app(store=store, transport=transport, mode=mode, **options)
        async with app.router.lifespan_context(app):
            link = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=link, base_url="http://localhost:3370") as client:
                if key is None:
                    login = await client.post("/api/login", json={"name": "admin", "password": "admin"})
                    key = login.json()["KODOSUMI_API_KEY"]
                client.cookies.clear()
                answer = await client.get("/role/me", headers={"KODOSUMI_API_KEY": key})
                assert answer.json()["name"] == "admin"


def test_making_the_app_touches_nothing(options: dict[str, Any], tmp_path: Path) -> None:
    create_app(**options)
    assert list(tmp_path.iterdir()) == []


def test_a_taken_port_is_said_in_one_line() -> None:
    taken = bind("127.0.0.1", 0)
    port = taken[0].getsockname()[1]
    try:
        with pytest.raises(ConfigurationError, match=str(port)) as caught:
            bind("127.0.0.1", port)
        assert "\n" not in str(caught.value)
    finally:
        taken[0].close()


def test_a_host_that_is_not_ours_is_said() -> None:
    for host in ("192.0.2.1", "nowhere.invalid"):
        with pytest.raises(ConfigurationError, match="KODO_APP_SERVER"):
            bind(host, 0)


def test_options_reach_workers_through_the_environment(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = load_settings(
        **options, cors_origins=["http://a", "http://b"], get_login=True, secret_key="s", app_workers=2
    )
    for name, value in environment_of(given).items():
        monkeypatch.setenv(name, value)
    again = load_settings()
    assert again == given
