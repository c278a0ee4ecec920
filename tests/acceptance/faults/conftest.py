"""The plant that the fault tests kill parts of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kodosumi.cluster import Head
from tests.acceptance.faults.durable import Works
from tests.acceptance.faults.plant import Plant

MakePlant = Callable[..., Plant]


@pytest.fixture(scope="package")
def standing_plant(head: Head, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """The plant that most tests use one after the other; not started."""
    plant = Plant(tmp_path_factory.mktemp("plant"), head.address)
    yield plant
    plant.stop()


@pytest.fixture
def plant(standing_plant: Plant) -> Iterator[Plant]:
    """A plant that works, whatever the test before has killed."""
    standing_plant.start()
    yield standing_plant
    standing_plant.show_logs()


@pytest.fixture
def make_plant(standing_plant: Plant, tmp_path: Path) -> Iterator[MakePlant]:
    """Makes plants, not started, and ends them after the test."""
    # Its spooler would read the new plant's events.
    standing_plant.stop()
    plants: list[Plant] = []

    def make(*args: object, **settings: object) -> Plant:
        folder = tmp_path / f"plant-{len(plants)}"
        folder.mkdir()
        plants.append(Plant(folder, *args, **settings))  # type: ignore[arg-type]
        return plants[-1]

    yield make
    for plant in plants:
        plant.stop()
        plant.show_logs()


@pytest.fixture(scope="module")
def standing_works(
    standing_plant: Plant, head: Head, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Works]:
    """Durable runs' works that a module's tests use one after the other; the servers run, the plant doesn't."""
    # Two plants on one Ray would change each other's pool.
    standing_plant.stop()
    with Works(tmp_path_factory.mktemp("works"), head.address) as works:
        yield works
        if request.session.testsfailed:
            works.plant.show_logs()


@pytest.fixture
def durable(standing_works: Works) -> Works:
    """Works that work, whatever the test before has killed."""
    standing_works.start()
    return standing_works
