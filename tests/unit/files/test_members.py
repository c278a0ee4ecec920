"""Every file store is in the contract suite, and settings choose it."""

from __future__ import annotations

from pathlib import Path

import pytest

from kodosumi.config import Settings
from kodosumi.error import ConfigurationError
from kodosumi.files import FILE_STORES, connect_files, connect_uploads
from tests.file_store_contract import RUN, paths, put

TESTS = Path(__file__).parents[2]


@pytest.mark.parametrize("name", FILE_STORES)
def test_every_file_store_is_in_the_contract_suite(name: str) -> None:
    suites = list(TESTS.glob(f"*/files/test_{name}_store.py"))

    assert suites, f"tests/…/files/test_{name}_store.py is missing"
    assert "(FileStoreContract)" in suites[0].read_text()


@pytest.mark.parametrize("url", [None, "memory://"])
async def test_settings_choose_the_store_and_keep_uploads_apart(url: str | None, tmp_path: Path) -> None:
    settings = Settings(file_store=url, exec_dir=tmp_path / "execution", upload_dir=tmp_path / "uploads")
    files, uploads = connect_files(settings), connect_uploads(settings)
    assert not list(tmp_path.iterdir())
    await put(files, f"{RUN}/in/a")
    await put(uploads, "role/upload/1")
    assert await paths(files, "") == [f"{RUN}/in/a"] and await paths(uploads, "") == ["role/upload/1"]
    await files.close()
    await uploads.close()


def test_a_bucket_is_chosen_without_connecting() -> None:
    settings = Settings(file_store="s3://bucket/some/prefix")
    assert connect_files(settings).name == connect_uploads(settings).name == "s3"


def test_an_unknown_store_lists_the_choices() -> None:
    with pytest.raises(ConfigurationError, match="local, s3, memory"):
        connect_files(Settings(file_store="ftp://host/folder"))


@pytest.mark.parametrize("url", ["s3:", "s3://", "s3:///prefix", "s3://b/../x", "s3://key:secret@b", "s3://b?x=y"])
def test_a_bucket_that_cannot_be_read_says_what_would_be_valid(url: str) -> None:
    with pytest.raises(ConfigurationError, match="KODO_FILE_STORE") as refused:
        connect_files(Settings(file_store=url))
    assert "secret" not in str(refused.value)
