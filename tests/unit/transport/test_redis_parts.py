"""The parts of the transport ``redis`` that need no server."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis._parsers.base import BaseParser
from redis.crc import key_slot

from kodosumi.error import ConfigurationError
from kodosumi.events import Position, new_fid
from kodosumi.transport.recollection import Trace
from kodosumi.transport.redis.address import Address
from kodosumi.transport.redis.driver import check_version, is_failure
from kodosumi.transport.redis.failures import Problem
from kodosumi.transport.redis.names import Names
from kodosumi.transport.redis.recall import Verdict, told, verdict


@pytest.mark.parametrize("version", ["2.8.0", "5.0.14", "6.0.16", "6.1.9"])
def test_a_server_that_is_too_old_is_refused_in_one_line(version: str) -> None:
    with pytest.raises(ConfigurationError, match=f"version {version}: .* needs Redis 6.2 or newer") as caught:
        check_version(version, "redis://host:6379/0")

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("version", ["6.2.0", "6.2.5", "7.0.15", "7.2.4", "8.0.0", "10.1", "255.255.255", "unheard-of"])
def test_a_server_that_is_new_enough_is_taken(version: str) -> None:
    check_version(version, "redis://host:6379/0")


@pytest.mark.parametrize(
    "answer",
    [
        "OOM command not allowed when used memory > 'maxmemory'.",
        "ERR Error running script (call to f_0): @user_script:1: @user_script: 1: -OOM command not allowed when used "
        "memory > 'maxmemory'.",
        "OOM command not allowed when used memory > 'maxmemory'. script: 0, on @user_script:1.",
    ],
    ids=["plain", "6.2", "7 and newer"],
)
def test_a_server_out_of_memory_is_recognised_whatever_its_version(answer: str) -> None:
    problem = Problem(BaseParser.parse_error(answer), Address("redis://host:6379/0"))

    assert problem.out_of_memory and not problem.permanent
    assert "raise its `maxmemory`" in problem.text


def test_a_connection_that_broke_is_a_failure_of_the_network_on_the_loop_of_rays_actors_too() -> None:
    uvloop = pytest.importorskip("uvloop")

    async def write_into_a_broken_connection() -> None:
        server = await asyncio.start_server(lambda _, writer: writer.transport.abort(), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        await reader.read()
        writer.transport.abort()
        server.close()
        await server.wait_closed()
        while True:
            writer.writelines([b"PING"])
            await asyncio.sleep(0)

    with pytest.raises(RuntimeError) as caught:
        uvloop.run(write_into_a_broken_connection())

    problem = Problem(caught.value, Address("redis://host:6379/0"))
    assert is_failure(caught.value)
    assert (problem.text, problem.permanent) == ("Redis at redis://host:6379/0: the connection was lost.", False)
    assert not is_failure(RuntimeError("anything else"))


@pytest.mark.parametrize("prefix", ["kodo:events:", "a:{tenant}:", ""])
def test_all_keys_of_an_execution_lie_in_the_slot_of_its_stream(prefix: str) -> None:
    names, fid = Names(prefix, "spooler"), new_fid()
    beside = [
        names.state(fid),
        names.producers(fid),
        names.closed(fid),
        names.recall(fid),
        names.room(fid) + "producer",
        names.bytes(fid, in_cluster=True),
    ]

    assert names.stream(fid) == f"{prefix}{fid}"
    assert names.fid_of(names.state(fid)) == fid
    assert {key_slot(key.encode()) for key in beside} == {key_slot(names.stream(fid).encode())}
    assert all(key.startswith(prefix) for key in beside)


def test_all_keys_that_consumers_share_lie_in_one_slot() -> None:
    names = Names("kodo:events:", "spooler")
    shared = [names.consumers, names.commits, names.bell("a"), names.facts("b"), names.held("c")]

    assert len({key_slot(key.encode()) for key in shared}) == 1


@pytest.mark.parametrize(("prefix", "group"), [("a{b", "spooler"), ("a}b{", "spooler"), ("{a}{b}", "s"), ("a:", "a b")])
def test_names_that_a_cluster_would_scatter_are_refused(prefix: str, group: str) -> None:
    with pytest.raises(ConfigurationError, match="KODO_REDIS_"):
        Names(prefix, group)


@pytest.mark.parametrize(
    ("url", "kind", "shown"),
    [
        ("redis://localhost:6379/0", "server", "redis://localhost:6379/0"),
        ("rediss://ann:pa%40ss@host:6380/2?ssl_ca_certs=/ca.pem", "server", "rediss://ann@host:6380/2"),
        ("unix:///run/redis.sock?db=1&password=hidden", "server", "unix:///run/redis.sock"),
        ("redis+sentinel://ann:hidden@a:1,b:2/kodo/3", "sentinel", "redis+sentinel://ann@a:1,b:2/kodo/3"),
        ("rediss+cluster://:hidden@a:1,[::1]:2", "cluster", "rediss+cluster://a:1,[::1]:2"),
    ],
)
def test_an_address_is_shown_without_its_secrets(url: str, kind: str, shown: str) -> None:
    address = Address(url)

    assert (address.kind, address.shown, address.in_cluster) == (kind, shown, kind == "cluster")
    assert "hidden" not in repr(address) and "pa%40ss" not in repr(address)


@given(st.text())
def test_any_text_is_an_address_or_refused_without_being_shown(text: str) -> None:
    try:
        Address(text)
    except ConfigurationError as exc:
        assert str(exc).startswith("KODO_REDIS_URL cannot be read")


def words(trace: Trace) -> dict[str, str]:
    fields = told("consumer", trace)
    return dict(zip(fields[::2], fields[1::2], strict=True))


@pytest.mark.parametrize(
    ("acked", "held", "past", "lives", "late", "found"),
    [
        (10, 10, 10, True, False, Verdict.KEPT),
        (12, 12, 10, False, False, Verdict.KEPT),
        (5, 10, 10, True, True, Verdict.UNDECIDED),
        (5, 10, 10, False, False, Verdict.UNDECIDED),
        (5, 10, 10, False, True, Verdict.LOST),
        (5, 5, 10, True, True, Verdict.LOST),
        (5, 5, None, True, False, Verdict.KEPT),
    ],
)
def test_what_a_producer_had_put_is_lost_only_when_nobody_has_it(
    acked: int, held: int, past: int | None, lives: bool, late: bool, found: Verdict
) -> None:
    heard = words(Trace(Position(7, acked), Position(7, held)))
    place = None if past is None else Position(7, past)

    assert verdict(heard, "p", 3, place, shared=False, lives=lives, late=late) is found


def test_without_a_word_it_is_waited_for_and_then_lost() -> None:
    place = Position(7, 1)

    assert verdict({}, "p", 3, place, shared=False, lives=False, late=False) is Verdict.UNDECIDED
    assert verdict({}, "p", 3, place, shared=False, lives=False, late=True) is Verdict.LOST
    assert verdict({}, "p", 1, None, shared=False, lives=False, late=True) is Verdict.KEPT


def test_a_producer_that_others_followed_cannot_know_what_is_lost() -> None:
    heard = words(Trace(Position(7, 10), Position(7, 10)))

    assert verdict(heard, "p", 3, Position(7, 10), shared=True, lives=True, late=False) is Verdict.LOST


def test_a_batch_that_a_consumer_has_is_not_taken_again() -> None:
    trace = Trace(Position(7, 10), Position(7, 10))
    trace.producers["p"] = (3, Position(7, 10))

    assert verdict(words(trace), "p", 3, None, shared=False, lives=True, late=False) is Verdict.TAKEN
    assert verdict(words(trace), "p", 4, Position(7, 10), shared=False, lives=True, late=False) is Verdict.KEPT
