"""What somebody does with a running stack: log in, launch, follow; and what its databases say of that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from tests.acceptance.faults.plant import Row, check_story, wait_for
from tests.containers.project import Project
from tests.sse import Message, messages, read_stream

DEADLINE_S = 600.0
ENDED = ("finished", "error")


class Visitor:
    """A client that is logged in, through the stack's proxy.

    Args:
        project: the stack. url: where it listens. name: whose login. password: by default the first operator's.
    """

    def __init__(self, project: Project, name: str = "admin", password: str | None = None) -> None:
        self.project = project
        # The Origin is what a browser sends: the panel must find its own address in what the proxy passes on.
        self.client = httpx.Client(base_url=project.url, timeout=120, headers={"Origin": project.url})
        login = {"name": name, "password": password or project.setting("KODO_ADMIN_PASSWORD")}
        self.key: str = self.client.post("/api/login", json=login).raise_for_status().json()["KODOSUMI_API_KEY"]

    def flow(self, summary: str) -> str:
        """The form address of a flow by its summary, once it is there and answers."""

        def found() -> str:
            items = self.client.get("/flow", params={"pp": 50}).raise_for_status().json()["items"]
            url: str = next(item["url"] for item in items if item["summary"] == summary)
            self.client.get(url).raise_for_status()
            return url

        return str(wait_for(found, bool, DEADLINE_S))

    def launch(self, summary: str, **fields: object) -> str:
        """Launches a flow by its summary and returns the run's id."""
        return self.start(self.flow(summary), **fields)

    def start(self, url: str, **fields: object) -> str:
        """Launches a flow by the address of its form and returns the run's id."""
        answer = self.client.post(url, json=fields)
        assert answer.status_code == 200, answer.text
        fid: str = answer.json()["result"]
        return fid

    def status(self, fid: str) -> str:
        """The state of a run."""
        return str(self.client.get(f"/outputs/status/{fid}?extended=true").raise_for_status().json()["status"])

    def ended(self, fid: str) -> str:
        """The state in which a run ended, once it has."""
        return str(wait_for(lambda: self.status(fid), lambda state: state in ENDED, DEADLINE_S))

    def result(self, fid: str) -> Any:
        """What a run gave, once it has ended."""
        self.ended(fid)
        ((_, value),) = self.client.get(f"/outputs/raw/{fid}").raise_for_status().json().items()
        return value

    def story(self, fid: str) -> list[Message]:
        """All that a client reads of a run, to its end; checked: places without gap, one end, the same as is stored."""
        *events, eof = read_stream(self.client, f"/outputs/stream/{fid}?extended=true")
        assert eof.kind == "eof"
        read = [Row(event.seq, event.kind, event.payload) for event in events]
        check_story(read)
        assert read == self.stored(fid)
        return events

    def read_until(self, fid: str, kind: str) -> list[Message]:
        """What a client reads of a run until the first event of a kind, which the run must come to."""
        read: list[Message] = []
        with self.following(fid) as live:
            for event in live:
                read.append(event)
                if event.kind == kind:
                    return read
        raise AssertionError(f"no {kind} in {read}")

    def printed(self, fid: str) -> list[str]:
        """The lines that a run's code printed."""
        return "\n".join(row.payload for row in self.stored(fid) if row.kind == "stdout").split("\n")

    @contextmanager
    def following(self, fid: str, after: int = 0) -> Iterator[Iterator[Message]]:
        """The live messages of a run, for as long as the block lasts."""
        headers = {"Last-Event-ID": str(after)} if after else {}
        with self.client.stream("GET", f"/outputs/stream/{fid}?extended=true", headers=headers) as response:
            yield messages(response.raise_for_status())

    def stored(self, fid: str) -> list[Row]:
        """What PostgreSQL has of a run."""
        query = f"SELECT json_build_array(seq, kind, message) FROM execution_events WHERE fid = '{fid}' ORDER BY seq"
        return [Row(*row) for row in self.project.sql(query)]
