"""A receiver, and stores that note."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

import httpx
import pytest

from kodosumi.store.memory import MemoryExecutionStore
from kodosumi.webhook.courier import Courier, Resolve
from tests.servers.receiver import Receiver

SECRET = "tëst secret"

MakeCourier = Callable[..., Courier]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def store() -> MemoryExecutionStore:
    return MemoryExecutionStore(notices=True)


@pytest.fixture
async def make_courier() -> AsyncIterator[MakeCourier]:
    """Makes couriers, and closes them."""
    made: list[Courier] = []

    def make(url: str, *, resolve: Resolve | None = None, timeout_s: float = 10.0) -> Courier:
        made.append(Courier(httpx.URL(url), SECRET, resolve=resolve, timeout_s=timeout_s))
        return made[-1]

    yield make
    for courier in made:
        await courier.close()
