"""The app that the benchmarks run: a run that returns at once, bursts, paced events, and one that only waits."""

import asyncio

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


@serve.deployment(ray_actor_options={"num_cpus": 0.1})
@serve.ingress(app)
class Load: ...


fast_app = Load.bind()
