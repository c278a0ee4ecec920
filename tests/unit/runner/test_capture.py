"""What a run prints, logs, warns and its children write: one event each, of this run and of no other."""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import io
import json
import logging
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from kodosumi.log import setup_last_resort
from kodosumi.runner.shipping import shipping_loop
from tests.conditions import until
from tests.unit.runner.recorder import Record, spec_of


async def test_one_print_is_one_event_whatever_its_arguments(serve) -> None:
    def entry():
        print("a", 1, None, sep="-", end="!\n\n")
        print("several\nlines  ")
        print()
        print("  ", end="")
        print("no end", end="")
        print("to stderr", "too", file=sys.stderr, flush=True)
        print("elsewhere", file=io.StringIO())

    served = await serve(entry)
    assert served.record.payloads("stdout") == ["a-1-None!", "several\nlines", "no end"]
    assert served.record.payloads("stderr") == ["to stderr too"]


async def test_each_non_blank_write_is_one_event(serve) -> None:
    def entry():
        sys.stdout.write("one\n")
        sys.stdout.write("\n")
        sys.stdout.writelines(["two\n", "three\n"])
        sys.stderr.write("four")
        sys.stdout.buffer.write(b"caf\xc3\xa9 \xff\n")
        io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8", write_through=True).write("wrapped")

    served = await serve(entry)
    assert served.record.payloads("stdout") == ["one", "two", "three", "café \ufffd", "wrapped"]
    assert served.record.payloads("stderr") == ["four"]


async def test_the_streams_look_like_files(serve) -> None:
    def entry():
        out, err = sys.stdout, sys.stderr
        out.reconfigure(encoding="utf-8")
        out.close()
        return [
            out.fileno(), err.fileno(), out.encoding, out.errors, out.isatty(), out.writable(), out.readable(),
            out.closed, out.buffer.fileno(), out.buffer.closed, out.line_buffering, out.mode, isinstance(out.name, str),
        ]  # fmt: skip

    served = await serve(entry)
    assert served.outcome.state == "finished"
    values = [1, 2, "utf-8", "replace", False, True, False, False, 1, False, True, "w", True]
    wrapped = ", ".join(f'{{"{type(value).__name__}": {value!r}}}' for value in values)
    expected = wrapped.replace("'", '"').replace("False", "false").replace("True", "true")
    assert served.record.payloads("final") == [f'{{"__list__": [{expected}]}}']


async def test_a_write_of_something_else_fails_as_it_does_on_a_file(serve) -> None:
    served = await serve(lambda: sys.stdout.write(3))
    assert "TypeError: write() argument must be str, not int" in served.record.payloads("error")[0]


async def test_print_stays_picklable(serve) -> None:
    served = await serve(lambda: pickle.loads(pickle.dumps(builtins.print))("through pickle"))
    assert served.record.payloads("stdout") == ["through pickle"]


async def test_a_million_character_line_is_one_event(serve) -> None:
    served = await serve(lambda: print("x" * 999_999))
    assert [len(text) for text in served.record.payloads("stdout")] == [999_999]


async def test_a_line_above_the_limit_fails_in_the_authors_code(serve) -> None:
    served = await serve(lambda: print("x" * 1_000_001))
    assert "PayloadTooLarge: The stdout event has 1,000,001 bytes" in served.record.payloads("error")[0]


async def test_output_of_children_and_of_c_is_caught_line_by_line(serve) -> None:
    def entry():
        subprocess.run(["sh", "-c", "echo one; echo two >&2; printf 'caf\\303\\251 \\377\\n\\nno end'"], check=True)
        subprocess.run([sys.executable, "-c", "print('given')"], stdout=sys.stdout, check=True)
        os.write(1, b"low level\n")
        print("printed after")

    served = await serve(entry)
    out = served.record.payloads("stdout")
    assert out[:2] == ["one", "café \ufffd"]
    assert out[2:] == ["no endgiven", "low level", "printed after"]
    assert served.record.payloads("stderr") == ["two"]


async def test_a_child_that_floods_waits_and_loses_nothing(serve) -> None:
    code = "for i in range(20000): print(i, 'x' * 100)"
    served = await serve(lambda: subprocess.run([sys.executable, "-c", code], check=True) and None)
    lines = served.record.payloads("stdout")
    assert [int(line.split()[0]) for line in lines] == list(range(20000))


async def test_a_child_that_lives_on_does_not_hold_up_the_end(serve) -> None:
    children: list[subprocess.Popen[bytes]] = []

    def entry():
        read, write = os.pipe()
        code = f"import os, time; print('alive', flush=True); os.write({write}, b'x'); time.sleep(600)"
        children.append(subprocess.Popen([sys.executable, "-c", code], pass_fds=[write]))
        os.read(read, 1)
        os.close(read)
        os.close(write)

    # The list is shared because a closure that is pickled gets a copy.
    from tests.unit.runner import test_capture

    test_capture.entry, test_capture.children = entry, children
    try:
        served = await serve("tests.unit.runner.test_capture:entry")
        assert served.record.payloads("stdout") == ["alive"]
        assert served.outcome.state == "finished"
    finally:
        for child in children:
            child.kill()
            child.wait()


def watched() -> int:
    """How many descriptors the shipping loop reads."""
    return len(shipping_loop()._selector.get_map())


async def closes_its_output() -> None:
    before = watched()
    os.write(1, b"last words\n")
    aside = os.open(os.devnull, os.O_WRONLY)
    os.dup2(aside, 1)
    os.dup2(aside, 2)
    os.close(aside)
    await until(lambda: watched() == before - 2)


async def test_output_that_user_code_puts_elsewhere_is_not_read_again_and_again(serve) -> None:
    served = await serve(closes_its_output)
    assert served.record.payloads("stdout") == ["last words"]
    assert served.outcome.state == "finished"


def fork_child() -> None:
    print("from the fork")
    sys.stdout.flush()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
async def test_a_forked_child_prints_into_its_parents_run(serve) -> None:
    def entry():
        child = multiprocessing.get_context("fork").Process(target=fork_child)
        child.start()
        child.join()
        return child.exitcode

    served = await serve(entry)
    assert served.record.payloads("final") == ['{"int": 0}']
    assert served.record.payloads("stdout") == ["from the fork"]


async def test_prints_of_threads_are_the_runs(serve) -> None:
    def entry():
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(print, range(100)))

    served = await serve(entry)
    assert sorted(map(int, served.record.payloads("stdout"))) == list(range(100))


async def test_prints_of_one_run_never_reach_another(serve, tmp_path) -> None:
    module = tmp_path / "two_runs.py"
    module.write_text(
        "import logging, sys\n"
        "stream = sys.stdout\n"
        "handler = logging.StreamHandler(sys.stderr)\n"
        "log = logging.getLogger('two_runs')\n"
        "log.addHandler(handler)\n"
        "log.propagate = False\n"
        "def entry(inputs):\n"
        "    print(inputs)\n"
        "    stream.write(f'kept {inputs}')\n"
        "    log.warning('logged %s', inputs)\n"
    )
    first = await serve("two_runs:entry", "first")
    second = await serve("two_runs:entry", "second")
    for served, name in ((first, "first"), (second, "second")):
        assert served.record.payloads("stdout") == [name, f"kept {name}"]
        assert served.record.payloads("stderr") == [f"logged {name}"]
    assert sys.stdout.__class__.__name__ != "RoutedStream"


async def test_a_thread_left_behind_cannot_print_into_the_next_run(serve) -> None:
    from tests.unit.runner import test_capture

    test_capture.release = threading.Event()
    first = await serve("tests.unit.runner.test_capture:leave_a_thread")
    assert "left-behind" in first.outcome.reason
    assert not first.outcome.reusable
    test_capture.release.set()
    test_capture.left.join(10)
    assert first.record.pairs[-1] == ("status", "finished")
    assert first.record.payloads("stdout") == []


release = threading.Event()
left = threading.Thread()


def leave_a_thread() -> None:
    global left
    stream = sys.stdout

    def late() -> None:
        release.wait()
        stream.write("too late")

    left = threading.Thread(target=late, name="left-behind", daemon=True)
    left.start()


@contextlib.contextmanager
def bare_logging():
    """Logging as it is in a fresh process: the test runner's own handlers are away."""
    handlers, level = logging.root.handlers[:], logging.root.level
    logging.root.handlers.clear()
    logging.root.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)


async def test_logging_without_configuration_shows_info_and_above(serve) -> None:
    def entry():
        log = logging.getLogger("my.agent")
        log.debug("hidden")
        log.info("seen %d", 1)
        try:
            raise ValueError("bad")
        except ValueError:
            log.exception("failed")

    with bare_logging():
        served = await serve(entry)
    info, error = served.record.payloads("stderr")
    assert info == "INFO my.agent: seen 1"
    assert error.startswith("ERROR my.agent: failed\nTraceback") and error.endswith("ValueError: bad")


async def test_an_authors_logging_configuration_works_and_stays_in_its_run(serve) -> None:
    def entry():
        logging.basicConfig(format="<%(message)s>", level=logging.DEBUG, stream=sys.stdout)
        logging.getLogger("my.agent").addHandler(logging.StreamHandler())
        logging.getLogger("my.agent").debug("hello")

    with bare_logging():
        for _ in range(2):
            served = await serve(entry)
            assert served.record.payloads("stdout") == ["<hello>"]
            assert served.record.payloads("stderr") == ["hello"]
        plain = await serve(lambda: logging.getLogger("my.agent").debug("hidden"))
    assert plain.record.payloads("stdout") == plain.record.payloads("stderr") == []


async def test_the_plumbing_logs_json_that_names_the_run_and_the_run_logs_plainly(
    serve, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with bare_logging():
        monkeypatch.setattr(logging, "lastResort", logging.lastResort)
        setup_last_resort("json", "runner")

        def entry():
            plumbing = asyncio.run_coroutine_threadsafe(say(), loop)
            plumbing.result(20)
            logging.getLogger("my.agent").warning("from the run")

        async def say() -> None:
            logging.getLogger("kodosumi.runner").warning("from the plumbing")

        loop = asyncio.get_running_loop()
        from tests.unit.runner import test_capture

        monkeypatch.setattr(test_capture, "entry", entry, raising=False)
        served = await serve("tests.unit.runner.test_capture:entry")
    assert served.record.payloads("stderr") == ["WARNING my.agent: from the run"]
    fields = json.loads(capfd.readouterr().err)
    assert (fields["process"], fields["message"], fields["fid"]) == ("runner", "from the plumbing", served.ticket.fid)


async def test_what_the_control_thread_prints_is_not_the_runs(runner, ticket, record: Record) -> None:
    def entry():
        release.wait(20)

    release.clear()
    from tests.unit.runner import test_capture

    test_capture.entry = entry
    spec = spec_of(ticket.fid, "tests.unit.runner.test_capture:entry")
    serving = asyncio.create_task(runner.run(spec, ticket))
    await until(lambda: runner._run._user)
    print("from outside")
    release.set()
    await serving
    assert record.payloads("stdout") == record.payloads("error") == []
