"""Files of runs in S3-compatible storage, from the form to the results, and while the storage is away."""

from __future__ import annotations

import pytest

from kodosumi.cluster import Head
from tests.acceptance.faults.conftest import MakePlant
from tests.acceptance.faults.plant import texts
from tests.acceptance.people import listed, uploaded
from tests.servers.proxy import proxies
from tests.servers.s3 import S3Server

pytestmark = pytest.mark.fault


def test_files_come_and_go_and_outlive_the_storage_being_away(
    head: Head, make_plant: MakePlant, s3_server: S3Server, s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with proxies(s3_server.port) as (network,):
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{network.port}")
        plant = make_plant(head.address, file_store=s3_url)
        plant.start()
        content = bytes(range(256)) * 2_000
        field = uploaded(plant.client, {"given ü.bin": content}, "second")
        form = {"entry": "copy_files", "inputs": "{}", "second": field}

        launched = plant.client.post(f"{plant.form}files", json=form)

        assert launched.status_code == 200, launched.text
        fid = launched.json()["result"]
        assert texts(plant.stream(fid), "status")[-1] == "finished"
        assert listed(plant.client, fid, "out") == {"out/given ü.bin.copy": len(content)}
        assert plant.client.get(f"/files/{fid}/out/given ü.bin.copy").content == content
        assert list(plant.exec_dir.rglob("given*")) == []

        # Away, not silent: for a silent one the client waits a minute, which isn't worth a test's time.
        network.parted = True
        away = plant.client.get(f"/files/{fid}/out")
        network.heal()
        assert away.status_code == 503, away.text
        assert "S3" in away.json()["detail"]

        assert plant.client.get(f"/files/{fid}/out/given ü.bin.copy").content == content
        assert plant.client.delete(f"/outputs/{fid}", params={"purge": True}).status_code == 204
    bucket = s3_url.removeprefix("s3://").partition("/")[0]
    assert "given" not in s3_server.get(f"{bucket}?list-type=2")
