"""Streams through a real server: live events, clients that leave, a panel that closes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.conditions import until

from .event_source import parsed
from .scene import Scene, served


@pytest.fixture
async def browser(scene: Scene) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        served(scene.app) as address,
        httpx.AsyncClient(base_url=address, headers={"x-test-user": "alice"}, timeout=30) as client,
    ):
        yield client


async def test_events_arrive_as_they_are_stored(scene: Scene, browser: httpx.AsyncClient) -> None:
    fid = await scene.begun()
    async with browser.stream("GET", f"/outputs/stream/{fid}") as answer:
        seen = b""
        chunks = answer.aiter_raw()
        for number in range(5, 50):
            while not parsed(seen) or int(parsed(seen)[-1].id) < number - 1:
                seen += await anext(chunks)
            await scene.commit(fid, ("stdout", str(number)))
        await scene.commit(fid, ("status", "finished"))
        async for chunk in chunks:
            seen += chunk
    assert seen.startswith(b"retry: 2000\r\n\r\n")
    assert [event.id for event in parsed(seen)][:-1] == [str(number) for number in range(1, 51)]


async def test_a_client_that_leaves_is_forgotten_at_once(scene: Scene, browser: httpx.AsyncClient) -> None:
    # At once, and not when the next of these can't be sent.
    scene.hub._heartbeat_s = 3_600.0
    fid = await scene.begun()
    async with browser.stream("GET", f"/outputs/stream/{fid}") as answer:
        await anext(answer.aiter_raw())
        await until(lambda: scene.hub.viewers == 1)
    await until(lambda: scene.hub.viewers == 0)


async def test_a_panel_that_closes_ends_its_streams(scene: Scene) -> None:
    fid = await scene.begun()
    async with httpx.AsyncClient(headers={"x-test-user": "alice"}, timeout=30) as client:
        async with served(scene.app) as address:

            async def read() -> bytes:
                return (await client.get(f"{address}/outputs/stream/{fid}")).content

            reading = asyncio.create_task(read())
            await until(lambda: scene.hub.viewers == 1)
        assert "eof" not in [event.event for event in parsed(await reading)]


async def test_a_result_of_many_megabytes_is_streamed(scene: Scene, browser: httpx.AsyncClient) -> None:
    final = '{"str": "' + "x" * 20_000_000 + '"}'
    fid = await scene.finished(final)
    async with browser.stream("GET", f"/outputs/raw/{fid}") as answer:
        sizes = [len(chunk) async for chunk in answer.aiter_raw()]
    assert sum(sizes) == len(final) and max(sizes) < 2_000_000
