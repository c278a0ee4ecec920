"""Locks and files, the same whatever carries and keeps the events."""

from __future__ import annotations

import json
import threading

import httpx

from tests.acceptance.faults.plant import Plant, texts
from tests.acceptance.people import answer, listed, open_locks, uploaded

BIG = bytes(range(256)) * 4_000


def wrapped(payloads: list[str]) -> list[dict[str, object]]:
    """What events of kind ``lock`` and ``lease`` say."""
    return [json.loads(payload)["dict"] for payload in payloads]


def launch_with_files(plant: Plant, **fields: str) -> str:
    """Launches the agent that copies files."""
    launched = plant.client.post(f"{plant.form}files", json={"entry": "copy_files", "inputs": "{}", **fields})
    assert launched.status_code == 200, launched.text
    fid: str = launched.json()["result"]
    return fid


def test_locks_one_after_the_other_at_once_and_of_a_task_are_answered(plant: Plant) -> None:
    fid = plant.launch("ask")

    (first,) = open_locks(plant.client, fid)
    assert plant.status(fid) == "awaiting"
    form = plant.client.get(f"/lock/{fid}/{first}").raise_for_status().json()
    assert {"answer", "proof"} <= {element.get("name") for element in form}
    wrong = answer(plant.client, fid, first, answer="wrong")
    assert (wrong.status_code, wrong.json()["errors"]["answer"]) == (200, ["That is wrong."])
    assert open_locks(plant.client, fid) == [first]
    assert answer(plant.client, fid, first, answer="one").json()["result"] == {"to": 1, "answer": "one"}
    both = open_locks(plant.client, fid, 2, answered=[first])
    for lid in both:
        assert answer(plant.client, fid, lid, answer="nothing", sure=True).status_code == 200
    (last,) = open_locks(plant.client, fid, answered=both)
    assert answer(plant.client, fid, last, answer="four").status_code == 200

    events = plant.stream(fid)
    final = json.loads(texts(events, "final")[0])["__list__"]
    assert final[0] == {"dict": {"to": 1, "answer": "one"}}
    assert final[1] == {"NoneType": None}
    assert final[2]["dict"]["answer"] == "nothing"
    assert final[3] == {"dict": {"to": 4, "answer": "four"}}
    me = plant.client.get("/role/admin").json()["id"]
    locks, leases = wrapped(texts(events, "lock")), wrapped(texts(events, "lease"))
    assert {lock["lid"] for lock in locks} == {lease["lid"] for lease in leases}
    assert [lease["by"] for lease in leases] == [me] * 4


def test_of_two_answers_at_the_same_instant_the_first_counts(plant: Plant) -> None:
    fid = plant.launch("ask_once")
    (lid,) = open_locks(plant.client, fid)
    cookies = plant.client.cookies
    start, answers = threading.Barrier(4), list[httpx.Response]()

    def rush(name: str) -> None:
        with httpx.Client(base_url=plant.url, cookies=cookies, headers={"Origin": plant.url}, timeout=60) as client:
            start.wait()
            answers.append(answer(client, fid, lid, answer=name))

    threads = [threading.Thread(target=rush, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(response.status_code for response in answers) == [200, 409, 409, 409]
    (won,) = (response.json()["result"] for response in answers if response.status_code == 200)
    events = plant.stream(fid)
    assert texts(events, "final") == [json.dumps({"dict": won})]
    assert len(texts(events, "lease")) == 1


def test_a_lock_that_nobody_answers_expires_in_the_stream(plant: Plant) -> None:
    fid = plant.launch("ask_once", timeout=0.5)

    events = plant.stream(fid)

    (lock,), (lease,) = wrapped(texts(events, "lock")), wrapped(texts(events, "lease"))
    assert (lease["lid"], lease["expired"]) == (lock["lid"], True)
    assert f"TimeoutError: Lock {lock['lid']} expired" in texts(events, "final")[0]
    assert answer(plant.client, fid, str(lock["lid"]), answer="late").status_code in (404, 409)


def test_a_deletion_closes_an_open_lock(plant: Plant) -> None:
    fid = plant.launch("ask_once")
    (lid,) = open_locks(plant.client, fid)

    with plant.following(fid) as told:
        events = [next(told)]
        assert plant.client.delete(f"/outputs/{fid}").status_code == 204
        events += told

    assert texts(events, "error") == ["killed by admin"]
    assert answer(plant.client, fid, lid, answer="late").status_code == 404


def test_after_all_was_started_anew_what_was_is_shown_and_an_open_lock_is_answered(plant: Plant) -> None:
    over = plant.launch("count", n=10)
    before = plant.stream(over)
    fid = plant.launch("ask_once")
    (lid,) = open_locks(plant.client, fid)

    plant.stop()
    plant.start()

    assert plant.stream(over) == before
    assert open_locks(plant.client, fid) == [lid]
    assert answer(plant.client, fid, lid, answer="kept").status_code == 200
    assert texts(plant.stream(fid), "final") == ['{"dict": {"to": 1, "answer": "kept"}}']


def test_files_are_in_place_before_the_run_and_results_come_back(plant: Plant) -> None:
    first = uploaded(plant.client, {"a/one.txt": b"one", "zwei ü.bin": BIG}, "first")
    second = uploaded(plant.client, {"three.txt": b""}, "second")

    fid = launch_with_files(plant, first=first, second=second)

    events = plant.stream(fid)
    given = {"in/a/one.txt": 3, "in/zwei ü.bin": len(BIG), "in/three.txt": 0}
    made = {f"out/{path.split('/')[-1]}.copy": size for path, size in given.items()}
    (told,) = texts(events, "upload")
    assert {file["path"]: file["size"] for file in json.loads(told)["Upload"]["files"]} == given
    assert [event.payload for event in events if event.kind in ("status", "upload")][1] == "running"
    assert listed(plant.client, fid, "in") == given
    assert listed(plant.client, fid, "out") == made
    assert plant.client.get(f"/files/{fid}/out/zwei ü.bin.copy").content == BIG


def test_a_lock_takes_files_too(plant: Plant) -> None:
    fid = plant.launch("ask_once")
    (lid,) = open_locks(plant.client, fid)
    proof = uploaded(plant.client, {"proof.txt": b"it is so"}, "proof")

    assert answer(plant.client, fid, lid, answer="yes", proof=proof).status_code == 200

    plant.stream(fid)
    assert listed(plant.client, fid, "in") == {"in/proof.txt": 8}


def test_a_purged_run_leaves_no_file(plant: Plant) -> None:
    fid = launch_with_files(plant, second=uploaded(plant.client, {"gone.txt": b"soon gone"}, "second"))
    plant.stream(fid)
    assert listed(plant.client, fid, "out") == {"out/gone.txt.copy": 9}

    assert plant.client.delete(f"/outputs/{fid}", params={"purge": True}).status_code == 204

    assert plant.client.get(f"/files/{fid}/out").json() == []
    assert list(plant.exec_dir.rglob("gone.txt*")) == []
