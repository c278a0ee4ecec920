"""From the published curl lines to the stored end: launch, live stream, state, result, timeline, deletion."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import httpx
import pytest

from tests.acceptance.conftest import curl
from tests.conditions import until
from tests.sse import Message, messages, read_stream
from tests.stack import ROOT, StackProcess

CURL_LINES = re.findall(r"^curl -b cookie -c cookie .*$", (ROOT / "README.md").read_text(), re.MULTILINE)


def launched(client: httpx.Client, url: str, inputs: dict[str, object]) -> str:
    """Starts a run and returns its id."""
    answer = client.post(url, json=inputs)
    assert answer.status_code == 200, answer.text
    fid: str = answer.json()["result"]
    assert answer.headers["kodosumi_launch"] == fid
    return fid


@pytest.fixture(scope="module")
def done(stack: StackProcess, admin: httpx.Client) -> tuple[str, list[Message]]:
    """A run of the service that is over: its id and all that its stream told."""
    url = f"/-/localhost/{stack.serve_port}/my_service/-/"
    asyncio.run(until(lambda: admin.get(url).status_code == 200, deadline_s=120))
    fid = launched(admin, url, {"tasks": 3})
    return fid, read_stream(admin, f"/outputs/stream/{fid}?extended=true")


async def test_the_curl_lines_of_the_readme_start_a_run(
    stack: StackProcess, flows: dict[str, str], tmp_path: Path
) -> None:
    assert len(CURL_LINES) == 2
    # The number of tasks first: a port may hold it.
    adapted = [
        line.replace("100", "2")
        .replace("localhost:3370", f"localhost:{stack.port}")
        .replace("/-/localhost/8000/-/", f"/-/localhost/{stack.serve_port}/my_service/-/")
        for line in CURL_LINES
    ]

    assert json.loads(curl(adapted[0], tmp_path))["name"] == "admin"
    answer = json.loads(curl(adapted[1], tmp_path))

    status = curl(f"curl -b cookie '{stack.url}/outputs/status/{answer['result']}?extended=true'", tmp_path)
    assert json.loads(status)["fid"] == answer["result"]
    stream = curl(f"curl -b cookie -N {stack.url}/outputs/stream/{answer['result']}", tmp_path)
    assert "data: end of stream" in stream


def test_a_stream_tells_everything_in_order_and_ends(done: tuple[str, list[Message]]) -> None:
    events = done[1]

    kinds = [event.kind for event in events]
    assert kinds[:4] == ["status", "inputs", "meta", "status"]
    assert kinds[-3:] == ["final", "status", "eof"]
    assert [event.payload for event in events if event.kind == "status"] == ["starting", "running", "finished"]
    assert [event.seq for event in events[:-1]] == list(range(1, len(events)))
    assert sum(event.kind == "debug" for event in events) == 3, "each remote task has told its own"


def test_a_reader_that_comes_back_misses_nothing(admin: httpx.Client, done: tuple[str, list[Message]]) -> None:
    fid, events = done

    assert read_stream(admin, f"/outputs/stream/{fid}", **{"Last-Event-ID": "5"}) == events[5:]


def test_the_streams_of_a_page_convert_and_choose(admin: httpx.Client, done: tuple[str, list[Message]]) -> None:
    fid = done[0]

    main = {event.kind for event in read_stream(admin, f"/outputs/main/{fid}")}
    stdio = read_stream(admin, f"/outputs/stdio/{fid}")

    assert {"meta", "inputs", "status", "result", "final"} <= main
    assert "stdout" not in main
    assert any("3 of 3 tasks are done" in event.payload for event in stdio if event.kind == "stdout")


def test_state_result_and_document_of_a_finished_run(admin: httpx.Client, done: tuple[str, list[Message]]) -> None:
    fid = done[0]

    status = admin.get(f"/outputs/status/{fid}").json()
    assert (status["status"], status["summary"], status["version"]) == ("finished", "My service", "1.0.0")
    assert admin.get(f"/outputs/raw/{fid}").json()["dict"]["tasks"] == 3
    document = admin.get(f"/outputs/html/{fid}")
    assert (document.status_code, document.headers["content-type"].partition(";")[0]) == (200, "text/html")


def test_a_run_belongs_to_who_launched_it(admin: httpx.Client, done: tuple[str, list[Message]]) -> None:
    me = next(role for role in admin.get("/role").json() if role["name"] == "admin")

    assert admin.get(f"/outputs/status/{done[0]}").json()["username"] == me["id"]


def test_the_timeline_lists_and_finds_a_run(admin: httpx.Client, done: tuple[str, list[Message]]) -> None:
    listed = admin.get("/timeline/list", params={"pp": 50}).json()["items"]
    found = admin.get("/timeline/list", params={"q": done[0]}).json()["items"]

    assert done[0] in [item["fid"] for item in listed]
    assert [item["fid"] for item in found] == [done[0]]


def test_what_a_form_forbids_comes_back_at_its_field(stack: StackProcess, admin: httpx.Client) -> None:
    answer = admin.post(f"/-/localhost/{stack.serve_port}/my_service/-/", json={"tasks": 501})

    assert answer.status_code == 200
    assert answer.json()["errors"]["tasks"] == ["At most 500 tasks."]


def test_a_plain_function_blocks_and_its_events_arrive(stack: StackProcess, admin: httpx.Client) -> None:
    fid = launched(admin, f"/-/localhost/{stack.serve_port}/prime/-/sync", {"limit": 1000, "parts": 2})

    events = read_stream(admin, f"/outputs/stream/{fid}?extended=true")

    assert sum(event.kind == "action" for event in events) == 2
    assert admin.get(f"/outputs/raw/{fid}").json()["dict"]["count"] == 168


def test_deleting_a_living_run_cancels_it_and_hides_it(stack: StackProcess, admin: httpx.Client) -> None:
    fid = launched(admin, f"/-/localhost/{stack.serve_port}/my_service/-/", {"tasks": 500})

    with admin.stream("GET", f"/outputs/stream/{fid}?extended=true", timeout=120) as stream:
        told = messages(stream.raise_for_status())
        first = next(told)
        assert admin.delete(f"/outputs/{fid}").status_code == 204
        events = [first, *told]

    assert [event.payload for event in events if event.kind == "error"] == ["killed by admin"]
    assert events[-2].payload == "error"
    assert admin.get("/timeline/list", params={"q": fid}).json()["items"] == []
    assert admin.get(f"/outputs/status/{fid}").status_code == 404


async def test_health_shows_every_part_well(admin: httpx.Client) -> None:
    def shown() -> tuple[int, list[str]]:
        answer = admin.get("/health")
        return answer.status_code, answer.json()["reasons"]

    # A part that is late with an answer is asked again.
    await until(shown, lambda found: found == (200, []))


def test_an_app_without_a_panel_runs_for_nobody(stack: StackProcess, admin: httpx.Client) -> None:
    answer = httpx.post(f"http://localhost:{stack.serve_port}/hello/", json={"name": "Ada"}, timeout=60)
    fid = answer.raise_for_status().json()["result"]

    read_stream(admin, f"/outputs/stream/{fid}?extended=true")
    assert admin.get(f"/outputs/status/{fid}").json()["username"] == "_annon_"
