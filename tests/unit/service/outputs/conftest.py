"""Fixtures: a scene, and clients of its users."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from kodosumi.config import Settings

from .scene import ADMIN, ALICE, BOB, Scene


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    made = Scene(Settings(wait_for_job=30.0))
    await made.hub.start()
    yield made
    await made.hub.close()


@pytest.fixture
async def alice(scene: Scene) -> AsyncIterator[httpx.AsyncClient]:
    async with scene.client(ALICE) as client:
        yield client


@pytest.fixture
async def bob(scene: Scene) -> AsyncIterator[httpx.AsyncClient]:
    async with scene.client(BOB) as client:
        yield client


@pytest.fixture
async def admin(scene: Scene) -> AsyncIterator[httpx.AsyncClient]:
    async with scene.client(ADMIN) as client:
        yield client
