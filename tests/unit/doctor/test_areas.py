"""Areas of `koco doctor` that need no server: each thing seen well, doubtful and wrong."""

from __future__ import annotations

import asyncio
import socket
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from kodosumi.doctor import (
    State,
    clocks,
    databases,
    disk,
    durable,
    events,
    exposure,
    files,
    folders,
    ports,
    ray_cluster,
    software,
    variables,
)
from kodosumi.error import ConfigurationError
from tests.doctor import found, held_port, settings, without_our_variables

OK, WARNING, WRONG = State.OK, State.WARNING, State.WRONG
PUBLIC = "http://0.0.0.0:3370"
GOOD_KEY = "0123456789abcdef" * 4


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    without_our_variables(monkeypatch)
    monkeypatch.chdir(tmp_path)


# software -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("running", "state"), [((3, 10), WRONG), ((3, 11), OK), ((3, 13), OK), ((3, 14), WARNING)])
def test_a_python_that_is_too_old_is_wrong_and_one_too_new_is_doubtful(running: tuple[int, int], state: State) -> None:
    assert software.python(running).state is state


@pytest.mark.parametrize(("installed", "state"), [(None, WRONG), ("2.59.1", WRONG), ("2.60.0", OK), ("3.0.0rc1", OK)])
def test_a_ray_that_is_missing_or_too_old_is_wrong(installed: str | None, state: State) -> None:
    assert software.ray(installed).state is state


def test_the_versions_are_those_of_the_package() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    named = [text.rpartition(" :: ")[2] for text in project["classifiers"] if "Python :: 3." in text]
    tested = [tuple(map(int, text.split("."))) for text in named]
    assert (min(tested), max(tested)) == (software.OLDEST_PYTHON, software.NEWEST_PYTHON)
    assert "ray[serve]>=" + ".".join(map(str, software.OLDEST_RAY)) in project["dependencies"]
    extras = {extra for extra, _, _ in software.needed(settings(Path(), **EVERYTHING))}
    assert extras == set(project["optional-dependencies"]) - {"all", "dev"}


EVERYTHING = {
    "execution_database": "postgresql+asyncpg://u:p@h/d",
    "event_transport": "redis",
    "execution_mode": "temporal",
    "file_store": "s3://bucket",
}


async def test_a_package_that_the_settings_need_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = await found(software.check, settings(tmp_path, **EVERYTHING))
    assert {told[name].state for name in ("asyncpg", "redis", "temporalio", "obstore")} == {OK}
    monkeypatch.setattr(software, "find_spec", lambda name: None)
    told = await found(software.check, settings(tmp_path, **EVERYTHING))
    assert told["obstore"].state is WRONG and "'kodosumi[s3]'" in told["obstore"].remedy
    assert "asyncpg" not in await found(software.check, settings(tmp_path))


async def test_a_part_without_its_driver_is_left_to_software(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = settings(tmp_path, **EVERYTHING)
    for area in (databases, events, durable, files, ray_cluster):
        monkeypatch.setattr(area, "find_spec", lambda name: None)
        assert "postgresql" not in str(await found(area.check, given))


# settings -----------------------------------------------------------------------------------------------------------


def test_a_name_that_no_setting_has_is_told_with_the_nearest(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KODO_REDIS_ULR", "redis://:secret-word@h")
    monkeypatch.setenv("kodo_app_server", "http://localhost:1")
    Path(".env").write_text("KODO_QQQQ=secret-word\nKODO_MAX_RUNS=3\nOTHER=x\n")
    told = {finding.subject: finding for finding in variables.found_in(None)}
    assert told.keys() == {"variables", "KODO_REDIS_ULR", "KODO_QQQQ"}
    assert told["variables"].text == "2 set, in .env and the environment"
    assert told["KODO_REDIS_ULR"].state is WARNING and "KODO_REDIS_URL" in told["KODO_REDIS_ULR"].remedy
    assert "secret-word" not in str(told)


def test_a_file_that_is_named_and_not_there_is_wrong(tmp_path: Path) -> None:
    assert [finding.state for finding in variables.found_in(tmp_path / "none")] == [WRONG]


def test_a_webhook_that_cannot_be_used_is_wrong(tmp_path: Path) -> None:
    assert [each.state for each in variables.usable(settings(tmp_path, webhook_url="https://example.com/h"))] == [WRONG]
    given = settings(tmp_path, webhook_url="https://example.com/h", webhook_secret="s" * 32)
    assert [each.state for each in variables.usable(given)] == [OK]
    assert not list(variables.usable(settings(tmp_path)))


# security -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "states"),
    [
        ({}, (OK, WARNING, OK)),
        ({"secret_key": "short", "admin_password": "short"}, (WARNING, WARNING, OK)),
        ({"secret_key": GOOD_KEY, "admin_password": "long enough"}, (OK, OK, OK)),
        ({"app_server": PUBLIC}, (WRONG, WRONG, WARNING)),
        ({"app_server": PUBLIC, "secret_key": "a" * 64, "admin_password": "short"}, (WRONG, WRONG, WARNING)),
        ({"app_server": PUBLIC, "secret_key": GOOD_KEY, "admin_password": "long enough"}, (OK, OK, WARNING)),
        ({"app_server": PUBLIC, "ssl_certfile": __file__}, (WRONG, WRONG, OK)),
    ],
)
async def test_weak_secrets_are_wrong_where_others_can_come_in(
    tmp_path: Path, given: dict[str, str], states: tuple[State, ...]
) -> None:
    told = await found(exposure.check, settings(tmp_path, **given))
    assert tuple(told[name].state for name in ("secret key", "admin password", "reach")) == states


async def test_a_certificate_that_cannot_be_read_is_wrong(tmp_path: Path) -> None:
    assert (await found(exposure.check, settings(tmp_path, ssl_certfile="none.pem")))["TLS"].state is WRONG


# disk ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("free", "state"), [(50, OK), (10, OK), (9, WARNING), (2, WARNING), (1, WRONG)])
def test_a_disk_that_gets_full_is_told_in_time(free: int, state: State) -> None:
    assert disk.judged("KODO_EXEC_DIR", Path("data"), free, 100).state is state


async def test_folders_that_are_not_used_are_not_looked_at(tmp_path: Path) -> None:
    assert set(await found(disk.check, settings(tmp_path))) == {"KODO_EXEC_DIR", "KODO_UPLOAD_DIR"}
    elsewhere = {"file_store": "s3://b", "execution_database": "postgresql://h/d"}
    given = settings(tmp_path, **elsewhere, app_log_file=tmp_path / "a.log")
    assert set(await found(disk.check, given)) == {"KODO_APP_LOG_FILE"}


def test_a_folder_that_may_not_be_written_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    assert folders.writable("x", tmp_path / "not" / "yet", "KODO_EXEC_DIR").state is OK
    assert not (tmp_path / "not").exists()
    assert folders.writable("x", tmp_path / "file" / "below", "KODO_EXEC_DIR").state is WRONG
    # Who runs as root may write everywhere; so the system's word is replaced.
    monkeypatch.setattr(folders.os, "access", lambda path, mode: False)
    assert folders.writable("x", tmp_path, "KODO_EXEC_DIR").state is WRONG


def test_sqlite_on_a_network_disk_is_doubtful(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert folders.kind_of_disk(tmp_path)
    assert [each.state for each in folders.for_sqlite("x", tmp_path, "KODO_EXEC_DIR")] == [OK]
    monkeypatch.setattr(folders, "kind_of_disk", lambda path: "nfs4")
    assert [each.state for each in folders.for_sqlite("x", tmp_path, "KODO_EXEC_DIR")] == [OK, WARNING]


# ports --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which somebody listens who isn't ours."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        yield listener.getsockname()[1]


async def test_free_ports_are_fine_and_those_of_others_are_told_with_their_owner(
    tmp_path: Path, taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ports, "TIMEOUT_S", 0.1)
    with held_port() as panel, held_port() as apps:
        free = settings(tmp_path, app_server=f"http://127.0.0.1:{panel}", serve_port=apps)
        assert {each.state for each in (await found(ports.check, free)).values()} == {OK}
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        # It listens and never answers: nobody shall wait for it.
        ports_of = settings(tmp_path, app_server=f"http://127.0.0.1:{taken}", serve_port=port)
        told = await found(ports.check, ports_of)
    assert (told["panel"].state, told["apps"].state) == (WRONG, WARNING)
    assert "KODO_APP_SERVER" in told["panel"].remedy and "KODO_SERVE_PORT" in told["apps"].remedy
    if sys.platform == "linux":
        assert "pid" in told["apps"].text


async def test_ports_on_which_ours_answer_are_fine_and_the_panels_clock_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ports, "TIMEOUT_S", 60.0)
    date = "Thu, 01 Jan 2026 00:00:00 GMT"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = b'{"status":"ok"}'
        writer.write(b"HTTP/1.1 200 OK\r\ndate: %s\r\ncontent-length: %d\r\n\r\n%s" % (date.encode(), len(body), body))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        given = settings(tmp_path, app_server=f"http://127.0.0.1:{port}", serve_port=port)
        told = await found(ports.check, given)
    assert (told["panel"].state, told["apps"].state, told["clock"].state) == (OK, OK, WRONG)
    assert "NTP" in told["clock"].remedy


# clocks and versions ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("theirs", "precision", "state"),
    [
        (100.4, 0, OK),
        (101.4, 0, OK),
        (102.1, 0, WARNING),
        (97, 0, WARNING),
        (106.1, 0, WRONG),
        (94, 0, WRONG),
        (102.4, 1, OK),
    ],
)
def test_a_clock_that_is_surely_off_is_told(theirs: float, precision: float, state: State) -> None:
    assert clocks.compared(theirs, 100.0, 101.0, precision).state is state


def test_versions_of_the_cluster_must_be_equal() -> None:
    ours = ("2.60.0", "3.11.7")
    assert [each.state for each in ray_cluster.compared(ours, ours)] == [OK, OK]
    assert [each.state for each in ray_cluster.compared(("2.61.0", "3.11.7"), ours)] == [WRONG, OK]
    assert [each.state for each in ray_cluster.compared(("2.60.0", "3.11.8"), ours)] == [OK, WRONG]


# choices ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("area", "given"),
    [
        (databases, {"execution_database": "oracle://h"}),
        (events, {"event_transport": "pigeon"}),
        (durable, {"execution_mode": "maybe"}),
        (files, {"file_store": "ftp://h"}),
    ],
)
async def test_a_choice_that_does_not_exist_is_refused_with_those_that_do(tmp_path: Path, area, given) -> None:
    with pytest.raises(ConfigurationError, match="choose one of"):
        await found(area.check, settings(tmp_path, **given))
