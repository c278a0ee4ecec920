"""A webhook that cannot be used is said at start, without showing it."""

from __future__ import annotations

from pathlib import Path

import pytest

from kodosumi.config import Settings
from kodosumi.error import ConfigurationError
from kodosumi.spooler import Spooler
from kodosumi.start.spooling import spool_here, spool_in_background
from kodosumi.store.memory import MemoryExecutionStore
from kodosumi.webhook import connect_sender, target_of


def settings(url: str | None, secret: str | None = "s", folder: Path | None = None) -> Settings:
    return Settings(webhook_url=url, webhook_secret=secret, exec_dir=(folder or Path()) / "execution", _env_file=None)


@pytest.mark.parametrize("url", [None, ""])
def test_without_a_url_there_is_none(url: str | None) -> None:
    assert target_of(settings(url, None)) is None
    assert connect_sender(settings(url, None), MemoryExecutionStore()) is None


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8025/hook",
        "https://hooks.example.com/a?b=c",
        "https://user:word@hooks.example.com/",
        "http://10.1.2.3/",
        "http://[::1]:99/",
        "https://münchen.example/",
    ],
)
def test_http_and_https_addresses_are_good(url: str) -> None:
    target = target_of(settings(url))
    assert target is not None
    assert "hooks" not in repr(target) and "'s'" not in repr(target)


@pytest.mark.parametrize(
    "url",
    [
        "hooks.example.com/geheim",
        "ftp://hooks.example.com/geheim",
        "file:///geheim",
        "http://",
        "http:///geheim",
        "http://hooks.example.com:99999999/geheim",
        "http://a b/geheim",
        "http://169.254.169.254/geheim",
        "http://[fe80::1]/geheim",
        "http://[::ffff:169.254.169.254]/geheim",
        "http://0.0.0.0/geheim",
        "http://224.0.0.1/geheim",
    ],
)
def test_a_url_that_cannot_be_used_is_said_without_showing_it(url: str) -> None:
    with pytest.raises(ConfigurationError, match="KODO_WEBHOOK_URL") as raised:
        target_of(settings(url))
    assert "geheim" not in str(raised.value) and "https://hooks.example.com" in str(raised.value)


@pytest.mark.parametrize("secret", [None, ""])
def test_a_url_without_a_secret_stops_every_start_of_a_spooler(secret: str | None, tmp_path: Path) -> None:
    wrong = settings("http://localhost:9/hook", secret, tmp_path)
    for start in (target_of, spool_here, spool_in_background, Spooler):
        with pytest.raises(ConfigurationError, match=r"KODO_WEBHOOK_SECRET.*openssl rand"):
            start(wrong)  # type: ignore[operator]
    assert list(tmp_path.iterdir()) == []
