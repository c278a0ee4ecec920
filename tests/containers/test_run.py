"""Runs in the full stack: launched through its proxy, told by Redis, kept in PostgreSQL; and who can reach it."""

from __future__ import annotations

import httpx

from tests.acceptance.faults.plant import wait_for
from tests.acceptance.people import answer, open_locks, uploaded
from tests.containers.project import Project, run, service_of
from tests.containers.visitor import Visitor

PUBLIC_IMAGES = {"postgres", "redis", "temporal"}
"""Services whose image starts as root, as its makers mean it to."""
ONE_SHOT = {"migrate"}
CHUNK_BYTES = 1_048_576


def test_who_does_not_log_in_sees_nothing_and_a_wrong_password_is_refused(project: Project) -> None:
    wrong = httpx.post(f"{project.url}/api/login", json={"name": "admin", "password": "admin"}, timeout=60)

    assert wrong.status_code == 401
    assert httpx.get(f"{project.url}/flow", timeout=60).status_code == 401
    assert httpx.get(f"{project.url}/health/live", timeout=60).status_code == 200


def test_every_part_is_well(admin: Visitor) -> None:
    health = admin.client.get("/health").raise_for_status().json()

    assert health["reasons"] == []


def test_all_examples_are_registered_without_a_hand(admin: Visitor) -> None:
    summaries = ["Hello", "Every form element", "Primes", "My service", "Approval", "Documents", "Paid job"]

    assert all(admin.flow(summary) for summary in summaries)


def test_hello_runs_and_its_events_are_in_postgresql(admin: Visitor) -> None:
    fid = admin.launch("Hello", name="Ada")

    assert admin.result(fid) == "greeted Ada"
    admin.story(fid)
    assert admin.printed(fid) == [f"thinking, step {number}" for number in (1, 2, 3)]


def test_my_service_runs_its_tasks_on_the_cluster(admin: Visitor) -> None:
    fid = admin.launch("My service", tasks="10")

    result = admin.result(fid)
    assert result["tasks"] == 10
    assert sorted(task["task"] for task in result["results"]) == list(range(10))
    told = [event.payload for event in admin.story(fid) if event.kind == "debug"]
    assert sorted(int(text.split()[1]) for text in told) == list(range(10))


def test_events_come_through_the_proxy_while_the_run_works_and_by_way_of_redis(admin: Visitor) -> None:
    fid = admin.launch("Approval", purpose="A chair", amount=120, patience=600)

    with admin.following(fid) as live:
        # The run waits for an answer now, so what is read here was not held back until its end.
        before = [next(live)]
        while before[-1].kind != "lock":
            before.append(next(live))
        stream = admin.project.redis("TYPE", f"kodo:events:{fid}")
        entries = admin.project.redis("XINFO", "STREAM", f"kodo:events:{fid}")
        (lid,) = open_locks(admin.client, fid)
        assert answer(admin.client, fid, lid, limit=120, note="sit well").status_code == 200
        after = list(live)

    assert stream == ["stream"]
    added = int(entries[entries.index("entries-added") + 1])
    assert added > 0
    assert after[-1].kind == "eof"
    assert admin.result(fid) == {"bought": True, "note": "sit well"}
    assert [*before, *after[:-1]] == admin.story(fid)


def test_what_is_settled_does_not_stay_in_redis(admin: Visitor) -> None:
    fid = admin.launch("Hello", name="Grace")
    admin.ended(fid)

    keys = [f"kodo:events:{fid}", f"kodo:events:state:{{kodo:events:{fid}}}"]
    wait_for(lambda: admin.project.redis("EXISTS", *keys), lambda said: said == ["0"])


def test_an_upload_of_several_chunks_comes_through_the_proxy_and_back(admin: Visitor) -> None:
    text = b"word " * 600_000
    documents = uploaded(admin.client, {"long.txt": text}, "documents", chunk_bytes=CHUNK_BYTES)

    fid = admin.launch("Documents", documents=documents, text="")

    assert admin.result(fid)["long.txt"]["words"] == 600_000
    back = admin.client.get(f"/files/{fid}/in/long.txt")
    assert back.content == text


def test_only_the_proxy_is_published_and_that_on_loopback(project: Project) -> None:
    published = {
        service_of(container): bindings
        for container in project.containers()
        if (bindings := [one for ports in container["NetworkSettings"]["Ports"].values() for one in ports or ()])
    }

    assert published == {"proxy": [{"HostIp": "127.0.0.1", "HostPort": str(project.port)}]}


def test_every_container_runs_and_is_healthy_and_migrate_has_ended_well(project: Project) -> None:
    states = {service_of(one): one["State"] for one in project.containers()}

    assert {name: states[name]["ExitCode"] for name in ONE_SHOT} == dict.fromkeys(ONE_SHOT, 0)
    lasting = {name: state.get("Health", {}).get("Status") for name, state in states.items() if name not in ONE_SHOT}
    assert lasting == dict.fromkeys(lasting, "healthy")
    assert set(lasting) == {"proxy", "panel", "spooler", "ray", "examples", "postgres", "redis"}


def test_every_volume_has_a_name(project: Project) -> None:
    """One without stays behind, unused, whenever its container is made anew."""
    volumes = {
        (service_of(container), mount["Name"])
        for container in project.containers()
        for mount in container["Mounts"]
        if mount["Type"] == "volume"
    }

    named = {f"{project.name}_{name}" for name in ("postgres", "redis", "data")}
    assert {(service, name) for service, name in volumes if name not in named} == set()


def test_no_container_of_ours_runs_anything_as_root(project: Project) -> None:
    roots = {
        service_of(container): lines
        for container in project.containers()
        if service_of(container) not in PUBLIC_IMAGES and container["State"]["Running"]
        if (lines := as_root(container["Id"]))
    }

    assert roots == {}


def as_root(container: str) -> list[str]:
    """The processes of a container that run as root."""
    _, *lines = run(["docker", "top", container, "-eo", "uid,pid,args"]).splitlines()
    return [line for line in lines if line.split()[0] == "0"]
