"""One process, several runs: what is put back, what makes it unfit, and what makes it out of date."""

from __future__ import annotations

import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kodosumi.runner import state
from kodosumi.runner.main import StaleEnvironment
from tests.unit.runner.recorder import spec_of

pool: ThreadPoolExecutor | None = None
hold = threading.Event()


async def test_folder_environment_and_arguments_are_put_back(serve, tmp_path: Path) -> None:
    def entry():
        os.environ["RUN_SECRET"] = "leaked"
        os.environ.pop("HOME", None)
        os.chdir("/")
        sys.argv.append("x")

    before = dict(os.environ), Path.cwd(), list(sys.argv)
    served = await serve(entry)
    assert served.outcome.reusable
    assert (dict(os.environ), Path.cwd(), list(sys.argv)) == before


async def test_what_a_late_import_may_have_changed_needs_a_fresh_process(serve, tmp_path: Path) -> None:
    (tmp_path / "late_settings.py").write_text("import os\nos.environ['LATE_KEY'] = 'x'\n")

    def entry():
        import late_settings  # noqa: F401

    served = await serve(entry)
    assert served.outcome[:3] == ("finished", False, "modules imported during the run changed the process")
    assert "LATE_KEY" not in os.environ


async def test_a_module_that_configures_itself_on_import_keeps_it(serve, tmp_path: Path) -> None:
    (tmp_path / "early_settings.py").write_text(
        "import os\nos.environ['EARLY_KEY'] = 'x'\ndef entry():\n    return os.environ['EARLY_KEY']\n"
    )
    try:
        for _ in range(2):
            served = await serve("early_settings:entry")
            assert served.record.payloads("final") == ['{"str": "x"}']
            assert served.outcome.reusable
    finally:
        os.environ.pop("EARLY_KEY", None)


async def test_a_source_file_that_changed_asks_for_a_fresh_process(serve, runner, ticket, tmp_path: Path) -> None:
    module = tmp_path / "changing_service.py"
    module.write_text("def entry():\n    return 1\n")
    assert (await serve("changing_service:entry")).outcome.reusable
    assert (await serve("changing_service:entry")).outcome.reusable
    module.write_text("def entry():\n    return 12345\n")
    with pytest.raises(StaleEnvironment, match=r"changing_service\.py"):
        await runner.run(spec_of(ticket.fid, "changing_service:entry"), ticket)
    assert await runner.current() is None


async def test_a_file_made_after_the_process_started_is_found(serve, tmp_path: Path) -> None:
    await serve("made_later:entry")
    (tmp_path / "made_later.py").write_text("def entry():\n    return 1\n")
    assert (await serve("made_later:entry")).outcome.state == "finished"


def uses_a_pool() -> int:
    global pool
    pool = pool or ThreadPoolExecutor(2)
    return sum(pool.map(abs, range(10)))


def keeps_a_pool_busy() -> None:
    uses_a_pool()
    assert pool is not None
    pool.submit(hold.wait, 60)


async def test_idle_pool_threads_are_harmless(serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "LEAVE_S", 30.0)
    global pool
    pool = None
    try:
        for _ in range(2):
            assert (await serve(f"{__name__}:uses_a_pool")).outcome.reusable
    finally:
        assert pool is not None
        pool.shutdown()


def leaves_a_pool_that_has_not_quite_done() -> None:
    global pool
    pool = ThreadPoolExecutor(1)
    work = pool.submit(hold.wait, 60)
    # Whoever waits for the result goes on before the pool's thread does.
    work.add_done_callback(lambda _: time.sleep(0.05))
    hold.set()
    work.result()


async def test_pool_threads_that_have_just_given_their_result_are_harmless(
    serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "LEAVE_S", 30.0)
    hold.clear()
    try:
        assert (await serve(f"{__name__}:leaves_a_pool_that_has_not_quite_done")).outcome[:3] == ("finished", True, "")
    finally:
        assert pool is not None
        pool.shutdown()


async def test_pool_threads_at_work_make_the_process_unfit(serve) -> None:
    hold.clear()
    global pool
    pool = None
    try:
        busy = await serve(f"{__name__}:keeps_a_pool_busy")
        assert busy.outcome.state == "finished"
        assert busy.outcome.reason.startswith("threads were left behind: ThreadPoolExecutor")
    finally:
        hold.set()
        assert pool is not None
        pool.shutdown()


async def test_a_thread_that_is_just_ending_is_harmless(serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "LEAVE_S", 30.0)

    def entry():
        threading.Thread(target=time.sleep, args=(0.02,)).start()

    assert (await serve(entry)).outcome[:3] == ("finished", True, "")


async def test_tasks_left_on_the_loop_are_ended_before_the_run_ends(serve) -> None:
    import asyncio

    async def entry():
        async def background():
            try:
                await asyncio.sleep(600)
            finally:
                print("background ended")

        entry.task = asyncio.create_task(background())
        await asyncio.sleep(0)

    served = await serve(entry)
    assert served.record.pairs[1] == ("stdout", "background ended")
    assert served.record.pairs[-1] == ("status", "finished")
