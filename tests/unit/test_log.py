"""Logs say what changes, not what stays; each line names run and request, for people or for programs."""

from __future__ import annotations

import asyncio
import json
import logging
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kodosumi.log import (
    JsonFormatter,
    LineFormatter,
    Troubles,
    about,
    current_fid,
    current_request_id,
    outliving,
    set_fid,
    setup_last_resort,
    usable_request_id,
)


def record(text: str, *args: object, error: BaseException | None = None) -> logging.LogRecord:
    exc_info = (type(error), error, error.__traceback__) if error is not None else None
    return logging.LogRecord("kodosumi.part", logging.INFO, __file__, 1, text, args, exc_info)


def parsed(one: logging.LogRecord) -> dict[str, object]:
    """What the JSON line says; a line is all that it is."""
    line = JsonFormatter("panel").format(one)
    assert line.isascii() and len(line.splitlines()) == 1
    fields: dict[str, object] = json.loads(line)
    return fields


def test_a_json_line_has_its_fields_and_no_others() -> None:
    fields = parsed(record("stored %d", 3))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(fields.pop("time")))
    assert isinstance(fields.pop("pid"), int)
    assert fields == {"level": "INFO", "logger": "kodosumi.part", "message": "stored 3", "process": "panel"}


def test_a_traceback_is_text_within_the_line() -> None:
    try:
        raise ValueError("first\nsecond")
    except ValueError as exc:
        fields = parsed(record("failed", error=exc))
    assert str(fields["exception"]).startswith("Traceback") and "first\nsecond" in str(fields["exception"])


def test_arguments_that_do_not_fit_are_still_one_line() -> None:
    assert "do not fit" in str(parsed(record("%d of %d", "x"))["message"])


@given(st.text())
def test_any_message_comes_back_as_it_was(text: str) -> None:
    assert parsed(record("%s", text))["message"] == text


def test_a_line_names_run_and_request_while_they_are_known() -> None:
    with about(request_id="r-1"):
        with about(fid="f-1"):
            assert LineFormatter().format(record("text")).endswith("text fid=f-1 request=r-1")
            assert {"fid": "f-1", "request_id": "r-1"}.items() <= parsed(record("text")).items()
        assert LineFormatter().format(record("text")).endswith("text request=r-1")
    assert LineFormatter().format(record("text")).endswith("text")
    assert "fid" not in parsed(record("text"))


async def test_tasks_and_their_threads_know_what_they_are_about_and_nobody_else_does() -> None:
    async def work(fid: str) -> str:
        set_fid(fid)
        return await asyncio.to_thread(current_fid)

    assert await asyncio.gather(work("a"), work("b")) == ["a", "b"]
    assert current_fid() == ""


async def test_what_outlives_its_request_does_not_bear_its_name() -> None:
    async def known() -> tuple[str, str]:
        return current_fid(), current_request_id()

    with about(fid="f", request_id="r"):
        assert await asyncio.create_task(known()) == ("f", "r")
        assert await asyncio.create_task(known(), context=outliving("g")) == ("g", "")


@pytest.mark.parametrize("name", ["a", "A-b_c.9", "x" * 64])
def test_a_callers_request_id_is_kept(name: str) -> None:
    assert usable_request_id(name) == name


@pytest.mark.parametrize("name", [None, "", "x" * 65, "a b", "a\n", "ä", 'a"'])
def test_any_other_request_id_is_replaced(name: str | None) -> None:
    made = usable_request_id(name)
    assert made != name and usable_request_id(made) == made


def test_a_process_whose_logging_is_anothers_writes_json_until_that_sets_it_up(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "lastResort", logging.lastResort)
    monkeypatch.setattr(logging.root, "handlers", [])
    before = logging.lastResort
    setup_last_resort("text", "app")
    assert logging.lastResort is before
    setup_last_resort("json", "app")
    logging.getLogger("kodosumi.part").warning("look")
    fields = json.loads(capsys.readouterr().err)
    assert (fields["process"], fields["message"]) == ("app", "look")


def test_a_trouble_is_logged_when_it_begins_changes_and_ends(caplog: pytest.LogCaptureFixture) -> None:
    troubles = Troubles(logging.getLogger("kodosumi.tried"))
    troubles.end("no disk")
    for reason in ("full", "full", "full", "gone", "gone"):
        troubles.begin("no disk", reason)
    troubles.begin("no network", OSError("down"))
    for what in ("no disk", "no disk", "no network"):
        troubles.end(what)
    assert [record.message for record in caplog.records] == [
        "no disk, trying again: full",
        "no disk, trying again: gone",
        "no network, trying again: down",
        "over: no disk",
        "over: no network",
    ]
