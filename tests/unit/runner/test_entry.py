"""Entry points: what is found, what is called with which arguments, and what an error says."""

from __future__ import annotations

import asyncio
import functools
import json
from dataclasses import replace
from pathlib import Path

import cloudpickle
import pytest
import uvloop

from kodosumi.error import BadEntryPoint
from kodosumi.runner.entry import bound, pickle_for_run, resolve, traceback_text
from tests.unit.runner.recorder import spec_of

SOURCE = """
class Flow:
    class Inner:
        @staticmethod
        def run(inputs):
            return ["inner", inputs]

def execute(inputs):
    return ["execute", inputs]

number = 3
"""


@pytest.fixture(autouse=True)
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "entry_service"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "calc.py").write_text(SOURCE)
    (package / "broken.py").write_text("def fine():\n    pass\n\nraise RuntimeError('not today')\n")
    (package / "needy.py").write_text("import entry_missing_library\n")
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.parametrize("name", ["entry_service.calc:execute", "entry_service.calc.execute"])
def test_a_name_with_colon_or_dot_is_found(name: str) -> None:
    assert resolve(name)(1) == ["execute", 1]


def test_a_nested_attribute_is_found() -> None:
    assert resolve("entry_service.calc:Flow.Inner.run")(1) == ["inner", 1]


@pytest.mark.parametrize("name", ["execute", ":execute", "entry_service.calc:", "."])
def test_a_bare_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name a module too"):
        resolve(name)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("entry_nowhere.calc:execute", ["entry_nowhere.calc:execute", "no module 'entry_nowhere'"]),
        ("entry_service.nowhere:execute", ["no module 'entry_service.nowhere'"]),
        ("entry_service.calc:nothing", ["entry_service.calc:nothing", "has no 'nothing'"]),
        ("entry_service.calc:Flow.nothing", ["type 'Flow' has no 'nothing'"]),
        ("entry_service.calc:number", ["type int", "cannot be called"]),
        ("entry_service.broken:fine", ["RuntimeError: not today", "importing 'entry_service.broken'", "broken.py"]),
        ("entry_service.needy:fine", ["ModuleNotFoundError", "entry_missing_library", "entry_service.needy:fine"]),
    ],
)
async def test_what_is_not_found_is_named_in_the_error(serve, name: str, words: list[str]) -> None:
    served = await serve(name)
    (text,) = served.record.payloads("error")
    for word in words:
        assert word in text
    assert "kodosumi/runner" not in text
    assert served.outcome.state == "error"


def test_only_parameters_named_inputs_and_tracer_are_given() -> None:
    def keyword_only(*, tracer, inputs):
        return tracer, inputs

    def positional_only(inputs, /, other="o", *, tracer):
        return tracer, inputs, other

    def neither():
        return "none"

    def rest(**kwargs):
        return kwargs

    assert bound(keyword_only, 1, 2)() == (2, 1)
    assert bound(positional_only, 1, 2)() == (2, 1, "o")
    assert bound(neither, 1, 2)() == "none"
    assert bound(rest, 1, 2)() == {}
    assert bound(functools.partial(keyword_only, inputs=5), 1, 2)() == (2, 5)
    assert bound(dict, 1, 2)() == {}


def test_code_in_inputs_keeps_its_file_name() -> None:
    def convert(text: str) -> int:
        return int(text.split()[0])

    copy = cloudpickle.loads(pickle_for_run({"convert": convert}))["convert"]

    with pytest.raises(ValueError, match="invalid literal") as raised:
        copy("x")
    assert __file__ in {str(entry.path) for entry in raised.traceback[1:]}
    assert copy("7 8") == 7


def test_what_is_pickled_for_a_run_names_nothing_of_this_package() -> None:
    def outer():
        def inner():
            raise LookupError

        return inner

    # Payloads are kept, and are loaded by other versions.
    assert b"kodosumi.runner" not in pickle_for_run(outer)


def test_a_folder_with_a_similar_name_is_the_authors() -> None:
    source = compile(
        "def entry():\n    raise LookupError", f"{Path(asyncio.__file__).parents[1]}-own/asyncio/x.py", "exec"
    )
    variables: dict = {}
    exec(source, variables)

    with pytest.raises(LookupError) as raised:
        variables["entry"]()
    in_entry = raised.value.with_traceback(raised.value.__traceback__.tb_next)
    assert "-own/asyncio/x.py" in traceback_text(in_entry)


def test_what_cannot_be_called_is_refused() -> None:
    with pytest.raises(BadEntryPoint, match="a value of type int"):
        bound(3, 1, 2)


async def test_an_error_shows_the_authors_frames_only(serve) -> None:
    def inner():
        raise KeyError("missing")

    def entry():
        inner()

    async def coroutine():
        entry()

    for entry_point in (entry, coroutine):
        served = await serve(entry_point)
        (text,) = served.record.payloads("error")
        assert text.startswith("Traceback (most recent call last):\n  File")
        assert text.splitlines()[-1] == "KeyError: 'missing'"
        assert "kodosumi/runner" not in text and "asyncio" not in text
        assert f'File "{__file__}", line ' in text and 'raise KeyError("missing")' in text
        assert served.record.pairs[-1] == ("status", "error")
        assert not served.record.payloads("final")


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_traceback_begins_at_the_authors_frame_on_every_event_loop(new_loop) -> None:
    async def entry():
        await asyncio.gather(asyncio.to_thread(int, "x"))

    with pytest.raises(ValueError, match="invalid literal") as raised, asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(entry())

    below_this_test = raised.value.with_traceback(raised.value.__traceback__.tb_next)
    assert traceback_text(below_this_test).splitlines()[1].endswith("in entry")


@pytest.mark.parametrize("exception", [SystemExit, KeyboardInterrupt])
async def test_leaving_python_ends_the_run_and_not_the_process(serve, exception) -> None:
    def plain():
        raise exception("stop")

    async def coroutine():
        raise exception("stop")

    for entry_point in (plain, coroutine):
        served = await serve(entry_point)
        assert served.record.payloads("error")[0].endswith(f"{exception.__name__}: stop")
    assert (await serve(dict)).outcome[:3] == ("finished", True, "")


async def test_an_exception_that_cannot_be_shown_ends_the_run(serve) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise ValueError("no words")

    def entry():
        raise Mute

    served = await serve(entry)
    assert "Mute" in served.record.payloads("error")[0]


async def test_inputs_that_cannot_be_loaded_end_the_run_with_an_error(serve, runner, ticket, record) -> None:
    spec = replace(spec_of(ticket.fid, dict), inputs=b"not a pickle")
    assert (await runner.run(spec, ticket)).state == "error"
    assert record.payloads("error")


async def test_a_plain_function_that_returns_an_awaitable_is_awaited(serve) -> None:
    async def work():
        return 7

    served = await serve(lambda: work())
    assert json.loads(served.record.payloads("final")[0]) == {"int": 7}
