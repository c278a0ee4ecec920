"""Panel, runner and spooler die while a lock is open and while an upload runs."""

from __future__ import annotations

import json
import signal

import psutil
import pytest

from kodosumi.cluster import Head
from tests.acceptance.faults.plant import Plant, actors, texts, wait_for
from tests.acceptance.people import CHUNK_BYTES, answer, listed, open_locks, send_chunk, uploaded

pytestmark = pytest.mark.fault


def test_a_lock_outlives_the_panel(plant: Plant) -> None:
    fid = plant.launch("ask_once")
    (lid,) = open_locks(plant.client, fid)

    plant.panel.send(signal.SIGKILL)
    plant.start()

    assert open_locks(plant.client, fid) == [lid]
    assert answer(plant.client, fid, lid, answer="still").status_code == 200
    assert texts(plant.stream(fid), "final") == ['{"dict": {"to": 1, "answer": "still"}}']


def test_an_answer_given_while_no_spooler_lives_is_kept(plant: Plant) -> None:
    fid = plant.launch("ask_once")
    (lid,) = open_locks(plant.client, fid)

    plant.spooler.send(signal.SIGKILL)
    assert answer(plant.client, fid, lid, answer="meanwhile").status_code == 200
    assert answer(plant.client, fid, lid, answer="too late").status_code in (404, 409)
    plant.start()

    events = plant.stream(fid)
    assert texts(events, "final") == ['{"dict": {"to": 1, "answer": "meanwhile"}}']
    assert [json.loads(lease)["dict"]["lid"] for lease in texts(events, "lease")] == [lid]


def test_a_run_that_dies_closes_its_locks(plant: Plant, head: Head) -> None:
    fid = plant.launch("ask_and_tell")
    (lid,) = open_locks(plant.client, fid)
    (pid,) = plant.stored(fid, "debug")
    assert int(pid) in {process.pid for process in actors(head, "Runner")}

    psutil.Process(int(pid)).kill()

    events = plant.stream(fid)
    assert texts(events, "status")[-1] == "error"
    assert "RunnerDied" in texts(events, "error")[0]
    assert plant.client.get(f"/outputs/status/{fid}").json()["locks"] == []
    assert answer(plant.client, fid, lid, answer="nobody hears it").status_code == 409


def test_an_upload_goes_on_where_it_was_when_the_panel_died(plant: Plant) -> None:
    content = bytes(range(250)) * (5 * CHUNK_BYTES // 250)
    chunks = [content[at : at + CHUNK_BYTES] for at in range(0, len(content), CHUNK_BYTES)]
    batch = plant.client.post("/files/init_batch").json()["batch_id"]
    begun = {"filename": "long.bin", "total_chunks": len(chunks), "batch_id": batch}
    upload = plant.client.post("/files/init", json=begun).json()["upload_id"]
    for number in (4, 0):
        assert send_chunk(plant.client, upload, number, chunks[number]).status_code == 201

    plant.panel.send(signal.SIGKILL)
    plant.spooler.send(signal.SIGKILL)
    plant.start()
    for number in (3, 1, 2, 1):
        assert send_chunk(plant.client, upload, number, chunks[number]).status_code == 201

    items = {upload: {"filename": "long.bin", "totalChunks": len(chunks)}}
    field = json.dumps({"batchId": batch, "items": items, "name": "second"})
    launched = plant.client.post(f"{plant.form}files", json={"entry": "copy_files", "inputs": "{}", "second": field})
    assert launched.status_code == 200, launched.text
    fid = launched.json()["result"]
    assert texts(plant.stream(fid), "status")[-1] == "finished"
    assert plant.client.get(f"/files/{fid}/out/long.bin.copy").content == content


def test_a_launch_whose_files_cannot_be_completed_is_refused(plant: Plant) -> None:
    field = json.loads(uploaded(plant.client, {"a.txt": b"a"}, "second"))
    field["items"] = {"0" * 32: {"filename": "a.txt", "totalChunks": 1}}

    launched = plant.client.post(
        f"{plant.form}files", json={"entry": "copy_files", "inputs": "{}", "second": json.dumps(field)}
    )

    assert launched.status_code == 400
    assert "a.txt" in launched.text or "upload" in launched.text.lower()


def test_files_of_a_run_whose_process_died_can_still_be_fetched(plant: Plant) -> None:
    field = uploaded(plant.client, {"kept.txt": b"kept"}, "second")
    launched = plant.client.post(f"{plant.form}files", json={"entry": "ask_and_tell", "inputs": "{}", "second": field})
    fid = launched.json()["result"]
    open_locks(plant.client, fid)
    (pid,) = plant.stored(fid, "debug")

    psutil.Process(int(pid)).kill()

    wait_for(lambda: plant.status(fid), lambda status: status == "error")
    assert listed(plant.client, fid, "in") == {"in/kept.txt": 4}
    assert plant.client.get(f"/files/{fid}/in/kept.txt").content == b"kept"
