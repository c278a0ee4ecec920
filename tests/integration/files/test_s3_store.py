"""The contract on a server that speaks S3, and what is S3's own: what is said when it can't be used."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest

from kodosumi.config import Settings
from kodosumi.error import BadPath, ConfigurationError, FilesUnavailable
from kodosumi.files import connect_files, connect_uploads, s3
from kodosumi.files.s3 import PART_BYTES, S3FileStore
from tests.conditions import until
from tests.file_store_contract import MIB, RUN, FileStoreContract, MakeFiles, content_of, got, paths, put, stream_of
from tests.servers.s3 import S3Server
from tests.servers.server import free_port


class TestS3FileStore(FileStoreContract):
    @pytest.fixture
    def make(self, s3_url: str) -> MakeFiles:
        numbers, bucket = itertools.count(), s3_url.split("/")[2]
        return lambda: S3FileStore(bucket, f"kodo/{next(numbers)}")


@pytest.fixture
def files(s3_url: str) -> S3FileStore:
    return S3FileStore(s3_url.split("/")[2], "kodo")


async def test_settings_choose_a_bucket_and_uploads_lie_apart(s3_server: S3Server, s3_url: str) -> None:
    bucket = s3_server.create_bucket()
    for url, prefix in ((s3_url, "kodo/"), (f"s3://{bucket}", "")):
        settings = Settings(file_store=url)
        files, uploads = connect_files(settings), connect_uploads(settings)
        await put(files, f"{RUN}/in/a")
        await put(uploads, "role/upload/1")
        assert await paths(uploads, "") == ["role/upload/1"]
        assert await paths(files, "") == [f"{RUN}/in/a"]
        assert f"<Key>{prefix}.uploads/role/upload/1</Key>" in s3_server.get(url.split("/")[2])


async def test_more_files_than_one_answer_holds_are_listed_and_removed(files: S3FileStore) -> None:
    for start in range(0, 1_010, 101):
        await asyncio.gather(*(put(files, f"{RUN}/out/f{number:04}") for number in range(start, start + 101)))
    assert await paths(files, f"{RUN}/out") == [f"f{number:04}" for number in range(1_010)]
    assert await files.remove(RUN) == 1_010 and await files.list(RUN) == []


@pytest.mark.parametrize("how", ["error", "cancel"])
async def test_a_large_file_that_breaks_leaves_no_parts_behind(
    files: S3FileStore, s3_server: S3Server, s3_url: str, how: str
) -> None:
    sent = asyncio.Event()

    async def breaking() -> AsyncIterator[bytes]:
        for _ in range(4 * PART_BYTES // MIB):
            yield bytes(MIB)
        sent.set()
        if how == "error":
            raise ZeroDivisionError
        await asyncio.Event().wait()

    writing = asyncio.create_task(files.write(f"{RUN}/in/large", breaking()))
    await sent.wait()
    if how == "cancel":
        writing.cancel()
    await asyncio.wait([writing], timeout=30)
    assert writing.done()
    await until(lambda: s3_server.get(f"{s3_url.split('/')[2]}?uploads"), lambda left: "<UploadId>" not in left)


async def test_a_range_is_of_one_file_when_another_takes_its_name_meanwhile(
    files: S3FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(files, f"{RUN}/in/a", b"0123456789")
    head = files._store.head_async

    async def head_and_replace(path: str) -> object:
        found = await head(path)
        if found["size"] == 10:
            await put(files, f"{RUN}/in/a", b"abc")
        return found

    monkeypatch.setattr(files, "_store", SimpleNamespace(head_async=head_and_replace, put_async=files._store.put_async))
    stream = await files.read(f"{RUN}/in/a", 1)
    assert stream.info.size == 3 and await content_of(stream) == b"bc"


async def test_names_longer_than_s3_takes_are_refused(files: S3FileStore) -> None:
    with pytest.raises(BadPath, match=r"1024 bytes"):
        await put(files, f"{RUN}/in/" + "/".join(["a" * 200] * 5))


async def test_a_bucket_that_is_not_there_is_said(s3_url: str) -> None:
    files = S3FileStore("no-such-bucket")
    for call in (files.list(RUN), files.read(f"{RUN}/in/a"), put(files, f"{RUN}/in/a"), files.check()):
        with pytest.raises(FilesUnavailable, match="no bucket no-such-bucket: make it"):
            await call
    with pytest.raises(FilesUnavailable, match="no bucket"):
        await files.write(f"{RUN}/in/a", stream_of(*[bytes(MIB)] * 20))


async def test_a_server_that_is_away_is_said_and_used_again_when_it_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    with S3Server() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        files = S3FileStore(server.create_bucket())
        await put(files, f"{RUN}/in/a")
        server.kill()
        with pytest.raises(FilesUnavailable, match=r"cannot be used now.*AWS_ENDPOINT_URL") as away:
            await files.list(RUN)
        assert "\n" not in str(away.value)
        server.start()
        files = S3FileStore(server.create_bucket())
        await put(files, f"{RUN}/in/a")
        assert await got(files, f"{RUN}/in/a") == b"content"


async def test_keys_that_are_missing_are_named(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    # else the library asks the machine's own service for keys, which may have some
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(FilesUnavailable, match=r"No keys .* set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        await S3FileStore(s3_url.split("/")[2]).check()


async def test_a_server_that_stands_still_ends_a_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with S3Server() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        files = S3FileStore(server.create_bucket())
        await put(files, f"{RUN}/in/a")
        monkeypatch.setattr(s3, "_PIECE_S", 0.3)
        server.pause()
        try:
            with pytest.raises(FilesUnavailable, match="does not answer in time"):
                await files.read(f"{RUN}/in/a")
        finally:
            server.resume()


async def test_a_broken_variable_is_named_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ALLOW_HTTP", "perhaps")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "not a url")
    with pytest.raises((ConfigurationError, FilesUnavailable), match=r"AWS_"):
        await connect_files(Settings(file_store="s3://bucket")).check()


def test_a_missing_library_is_one_line_that_names_the_extra() -> None:
    code = (
        "import sys; sys.modules['obstore'] = None\n"
        "from kodosumi.config import Settings; from kodosumi.files import connect_files\n"
        "try: connect_files(Settings(file_store='s3://b'))\n"
        "except Exception as exc: print(type(exc).__name__, exc)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.startswith("ConfigurationError KODO_FILE_STORE") and "install `kodosumi[s3]`" in said
    assert said.count("\n") == 1
