"""The app that the benchmarks run: runs that return at once, burst, keep a pace, only wait, or ask people."""

import asyncio
import os
import time

from fastapi import Request
from ray import serve

from kodosumi.core import Launch, ServeAPI, Tracer, forms

app = ServeAPI()
form = forms.Model(
    forms.InputNumber(name="events", value=20), forms.InputNumber(name="per_s", value=50), forms.Submit("Go")
)


async def nothing(inputs: dict, tracer: Tracer) -> None:
    """Returns at once."""


async def burst(inputs: dict, tracer: Tracer) -> None:
    """Emits ``events`` events as fast as it can."""
    for number in range(inputs["events"]):
        await tracer.debug(f"event {number}")


async def paced(inputs: dict, tracer: Tracer) -> None:
    """Emits ``events`` events, ``per_s`` a second."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number in range(inputs["events"]):
        await asyncio.sleep(began + number / inputs["per_s"] - loop.time())
        await tracer.debug(f"event {number}")


async def idle(inputs: dict, tracer: Tracer) -> None:
    """Waits ``events`` seconds in silence."""
    await asyncio.sleep(inputs["events"])


async def told(inputs: dict, tracer: Tracer) -> None:
    """Tells its process's id, then waits ``events`` seconds."""
    await tracer.debug(f"{os.getpid()}")
    await asyncio.sleep(inputs["events"])


async def ask(inputs: dict, tracer: Tracer) -> None:
    """Asks ``events`` times, and tells when it got each answer."""
    for _ in range(inputs["events"]):
        await tracer.lock("question")
        await tracer.debug(f"{time.time()}")


@app.lock("question")
async def question() -> forms.Model:
    return forms.Model(forms.InputText(name="answer"), forms.Submit("Answer"))


@app.enter("/ask", form, summary="ask")
async def enter_ask(request: Request, inputs: dict):
    return Launch(request, ask, inputs=inputs)


@app.enter("/nothing", form, summary="nothing")
async def enter_nothing(request: Request, inputs: dict):
    return Launch(request, nothing, inputs=inputs)


@app.enter("/burst", form, summary="burst")
async def enter_burst(request: Request, inputs: dict):
    return Launch(request, burst, inputs=inputs)


@app.enter("/paced", form, summary="paced")
async def enter_paced(request: Request, inputs: dict):
    return Launch(request, paced, inputs=inputs)


@app.enter("/idle", form, summary="idle")
async def enter_idle(request: Request, inputs: dict):
    return Launch(request, idle, inputs=inputs)


@app.enter("/told", form, summary="told")
async def enter_told(request: Request, inputs: dict):
    return Launch(request, told, inputs=inputs)


@serve.deployment(ray_actor_options={"num_cpus": 0.1})
@serve.ingress(app)
class Load: ...


fast_app = Load.bind()
