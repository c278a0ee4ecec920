"""Every store is in the contract suite, and settings choose it."""

from __future__ import annotations

from pathlib import Path

import pytest

from kodosumi.config import Settings
from kodosumi.error import ConfigurationError
from kodosumi.store import STORES, connect_store
from tests.unit.store.histories import OWNER, begun

TESTS = Path(__file__).parents[2]
SHIPPED = [name for name, home in STORES.items() if home.startswith("kodosumi.")]
"""Other tests register members of their own."""


@pytest.mark.parametrize("name", SHIPPED)
def test_every_store_is_in_the_contract_suite(name: str) -> None:
    suites = list(TESTS.glob(f"*/store/test_{name}_store.py"))

    assert suites, f"tests/…/store/test_{name}_store.py is missing"
    assert "(StoreContract)" in suites[0].read_text()


@pytest.mark.parametrize("url", [None, "memory://", "sqlite://"])
async def test_settings_choose_the_store(url: str | None, tmp_path: Path) -> None:
    store = connect_store(Settings(execution_database=url, exec_dir=tmp_path / "execution"))
    fid = await begun(store)
    assert (await store.execution(fid)).username == OWNER
    await store.close()


async def test_a_url_of_postgresql_chooses_its_store_without_connecting() -> None:
    store = connect_store(Settings(execution_database="postgresql+asyncpg://u:p@nowhere.invalid/db"))
    await store.close()


def test_an_unknown_store_lists_the_choices() -> None:
    with pytest.raises(ConfigurationError, match="sqlite, postgresql, memory"):
        connect_store(Settings(execution_database="pigeon://u:p@loft"))
