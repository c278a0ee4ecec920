"""What the plant runs: bursts, quiet runs, blocking code, remote tasks, and one run of everything."""

import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import ray

from kodosumi.core import Tracer, response

PATIENCE_S = 300.0
STEPS = 1_000
QUESTION_AT = STEPS // 2
PLENTY = 20_000
"""So many numbers are told in haste; what a busy machine then takes its time for must be read to its end, too."""


async def count(inputs: dict[str, Any], tracer: Tracer) -> int:
    """Tells the numbers below ``n``."""
    for number in range(inputs["n"]):
        await tracer.result(number)
    return int(inputs["n"])


async def burst(inputs: dict[str, Any], tracer: Tracer) -> int:
    """Tells numbers as fast as it can, and when it was plenty now and then a hundred, until the gate is there.

    Returns how many it was.
    """
    number = 0
    while not (number % 100 == 0 and os.path.exists(inputs["gate"])):
        if number % 100 == 0 and number >= PLENTY:
            await asyncio.sleep(0.1)
        await tracer.result(number)
        number += 1
    return number


async def drip(inputs: dict[str, Any], tracer: Tracer) -> int:
    """Tells a number now and then until the gate is there; returns how many it was."""
    number = 0
    while not os.path.exists(inputs["gate"]):
        await tracer.result(number)
        number += 1
        await asyncio.sleep(inputs.get("pause_s", 0.01))
    return number


async def volleys(inputs: dict[str, Any], tracer: Tracer) -> int:
    """Tells numbers, so many at once and then a pause, until the gate is there; returns how many it was."""
    number = 0
    while not os.path.exists(inputs["gate"]):
        for _ in range(150):
            await tracer.result(number)
            number += 1
        await asyncio.sleep(0.05 if number < PLENTY else 0.3)
    return number


async def hold(inputs: dict[str, Any], tracer: Tracer) -> str:
    """Says nothing until the gate is there."""
    await tracer.debug("holding")
    await until_there(inputs["gate"])
    return "held"


async def block(inputs: dict[str, Any], tracer: Tracer) -> None:
    """Blocks its event loop."""
    await tracer.debug("blocking")
    time.sleep(inputs["seconds"])


@ray.remote(num_cpus=0)
def tell_on(tracer: Tracer, gate: str) -> int:
    """A task that tells numbers until the gate is there, whatever becomes of its run."""
    number = 0
    end = time.monotonic() + PATIENCE_S
    while not os.path.exists(gate) and time.monotonic() < end:
        tracer.result_sync(number)
        number += 1
        time.sleep(0.005)
    return number


async def tasks(inputs: dict[str, Any], tracer: Tracer) -> int:
    """Has a task tell numbers, and waits for it."""
    await tracer.debug(str(os.getpid()))
    return int(await tell_on.remote(tracer, inputs["gate"]))


@ray.remote(num_cpus=0)
def tell_to_the_end(tracer: Tracer, note: str) -> None:
    """Tells until its run is over, and a hundred times more; notes how often in a file."""
    number = 0
    end = time.monotonic() + PATIENCE_S
    while not tracer.cancelled and time.monotonic() < end:
        tracer.result_sync(number)
        number += 1
    for late in range(100):
        tracer.result_sync(number + late)
    Path(f"{note}.part").write_text(str(number + 100))
    Path(f"{note}.part").rename(note)


async def leave_behind(inputs: dict[str, Any], tracer: Tracer) -> None:
    """Ends while a task of it still tells."""
    tell_to_the_end.remote(tracer, inputs["note"])
    await until_there(inputs["gate"])


@ray.remote(num_cpus=0)
def tell_square(tracer: Tracer, number: int) -> int:
    """A task that tells what it returns."""
    tracer.result_sync(number * number)
    return number * number


async def everything(inputs: dict[str, Any], tracer: Tracer) -> Any:
    """Tells one event of each sort, in one order, and a few hundred more."""
    print("printed", 1, "äöü ✓ 🦆")
    print("to the other side", file=sys.stderr)
    await tracer.debug("a debug text", "and a second")
    await tracer.action({"step": 1, "nested": [1, {"deep": None}]})
    await tracer.markdown("# A *headline*")
    await tracer.html("<b>bold</b>")
    await tracer.text("plain <text>")
    for number in range(300):
        await tracer.result(number)
    print("x" * 10_000)
    for number in range(3):
        await tell_square.remote(tracer, number)
    tracer.result_sync({"from": "sync"})
    return response.Markdown("**done** with " + inputs["word"])


def fails(inputs: dict[str, Any], tracer: Tracer) -> None:
    """Tells a little and raises."""
    tracer.debug_sync("before")
    raise ValueError(f"no {inputs['word']}")


async def pid(tracer: Tracer) -> int:
    """Which process it is."""
    await tracer.debug(str(os.getpid()))
    return os.getpid()


@ray.remote(num_cpus=0)
def ask_on(tracer: Tracer) -> Any:
    """A task that asks and tells the answer."""
    answer = tracer.lock_sync("question", data={"number": 4})
    tracer.result_sync(answer)
    return answer


async def ask(inputs: dict[str, Any], tracer: Tracer) -> Any:
    """Asks one after the other and two at once, and has a task ask; returns the answers."""
    first = await tracer.lock("question", data={"number": 1})
    both = await asyncio.gather(
        tracer.lock("question", data={"number": 2}), tracer.lock("unleased", data={"number": 3})
    )
    return [first, *both, await ask_on.remote(tracer)]


async def ask_once(inputs: dict[str, Any], tracer: Tracer) -> Any:
    """Asks once, with what ``tracer.lock`` takes."""
    try:
        return await tracer.lock("question", data={"number": 1}, **inputs)
    except TimeoutError as exc:
        return f"TimeoutError: {exc}"


async def ask_and_tell(inputs: dict[str, Any], tracer: Tracer) -> Any:
    """Tells which process it is, and asks."""
    await tracer.debug(str(os.getpid()))
    return await tracer.lock("question", data={"number": 1})


async def steps(inputs: dict[str, Any], tracer: Tracer) -> Any:
    """Notes its beginning, tells a thousand numbers with small pauses, and asks in the middle; returns the answer."""
    note(inputs["notes"], tracer)
    answer = None
    for number in range(STEPS):
        if number == QUESTION_AT:
            answer = await tracer.lock("question", data={"number": number})
        await tracer.result(number)
        if number % 10 == 9:
            await asyncio.sleep(inputs.get("pause_s", 0.02))
    return answer


async def noted_drip(inputs: dict[str, Any], tracer: Tracer) -> int:
    """Notes its beginning, and tells numbers until the gate is there; returns how many it was."""
    note(inputs["notes"], tracer)
    return await drip(inputs, tracer)


async def noted_question(inputs: dict[str, Any], tracer: Tracer) -> Any:
    """Notes its beginning, and asks; returns the answer."""
    note(inputs["notes"], tracer)
    return await tracer.lock("question", data={"number": 1})


class Busy(ValueError):
    """What makes :func:`flaky` worth another attempt."""


async def flaky(inputs: dict[str, Any], tracer: Tracer) -> int:
    """Tells which attempt it is and raises, but for the attempt ``succeeds``."""
    await tracer.result(tracer.attempt)
    if tracer.attempt < inputs["succeeds"]:
        raise Busy(f"busy in attempt {tracer.attempt}")
    return tracer.attempt


def note(path: str, tracer: Tracer) -> None:
    """Appends a line with the attempt and the process: the effect that must not come twice."""
    with open(path, "a") as notes:
        notes.write(f"{tracer.attempt} {os.getpid()}\n")


@ray.remote(num_cpus=0)
def copy_on(tracer: Tracer, path: str, folder: str) -> int:
    """A task that copies one file to the results."""
    with tracer.fs_sync() as files:
        with files.open(path) as stream:
            content = stream.read_all()
        target = Path(folder) / f"{Path(path).name}.copy"
        target.write_bytes(content)
        files.upload(str(target))
    return len(content)


async def copy_files(inputs: dict[str, Any], tracer: Tracer) -> Any:
    """Has each file that it was given copied by a task; returns what is there then."""
    with tempfile.TemporaryDirectory() as folder:
        async with await tracer.fs() as files:
            for file in await files.ls("in"):
                await copy_on.remote(tracer, file["path"], folder)
            listed = [*await files.ls("in"), *await files.ls("out")]
    return [{"path": file["path"], "size": file["size"]} for file in listed]


async def until_there(path: str) -> None:
    """Returns when a file is there."""
    end = time.monotonic() + PATIENCE_S
    while not os.path.exists(path) and time.monotonic() < end:
        await asyncio.sleep(0.01)
