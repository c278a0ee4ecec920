"""Finding the cluster: what is named, else what runs here, and never what only a stale file tells of."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from kodosumi.cluster.finding import LOOPBACK, address_file, answers, is_own_address, joinable, runs_here, split
from kodosumi.config import Settings
from tests.doctor import held_port


@pytest.fixture(autouse=True)
def nothing_runs_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ray's folder, empty."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (tmp_path / "ray").mkdir()
    return tmp_path / "ray"


@pytest.fixture
def port() -> object:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_nothing_is_found_where_nothing_runs() -> None:
    assert runs_here(Settings(ray_server=None)) is None


def test_the_cluster_of_the_address_file_is_found(nothing_runs_here: Path, port: int) -> None:
    address_file(None).write_text(f"127.0.0.1:{port}")

    assert runs_here(Settings(ray_server=None)) == f"{LOOPBACK}:{port}"


def test_a_stale_address_file_is_noticed(port: int) -> None:
    with held_port() as free:
        address_file(None).write_text(f"127.0.0.1:{free}")

        assert runs_here(Settings(ray_server=None)) is None


def test_a_named_cluster_goes_before_the_one_that_runs_here(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    address_file(None).write_text(f"127.0.0.1:{port}")

    assert runs_here(Settings(ray_server="ray.example.com:6379")) == "ray.example.com:6379"
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert runs_here(Settings(ray_server=None)) == "10.0.0.1:6379"
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    assert runs_here(Settings(ray_server=None)) == f"{LOOPBACK}:{port}"


@pytest.mark.parametrize(
    ("address", "joined"),
    [
        ("localhost:6379", f"{LOOPBACK}:6379"),
        ("127.0.0.1:6379", f"{LOOPBACK}:6379"),
        (f"{LOOPBACK}:6379", f"{LOOPBACK}:6379"),
        ("10.0.0.1:6379", "10.0.0.1:6379"),
        ("ray://localhost:10001", "ray://localhost:10001"),
        ("head", "head"),
    ],
)
def test_loopback_is_named_so_that_ray_does_not_replace_it(address: str, joined: str) -> None:
    assert joinable(address) == joined


def test_addresses_are_split_into_host_and_port() -> None:
    assert split("10.0.0.1:6379") == ("10.0.0.1", 6379)
    assert split("[::1]:6379") == ("::1", 6379)
    assert split("ray://head:10001") == ("ray://head:10001", 0)


def test_only_what_listens_answers(port: int) -> None:
    assert answers(f"127.0.0.1:{port}")
    assert answers(f"{LOOPBACK}:{port}")
    assert answers("ray://anywhere:1")
    assert not answers("127.0.0.1:1")


@pytest.mark.parametrize("host", ["127.0.0.1", "::ffff:127.0.0.1", "localhost", socket.gethostname()])
def test_a_machine_knows_its_own_names(host: str) -> None:
    assert is_own_address(host)


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_elsewhere_is_nobody_here(host: str) -> None:
    assert not is_own_address(host)
