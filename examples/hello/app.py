"""The smallest agent: a form, an endpoint, and a function that runs on the cluster."""

import asyncio

from fastapi import Request
from ray import serve

from kodosumi.core import InputsError, Launch, ServeAPI, Tracer
from kodosumi.core import forms as F

app = ServeAPI()
form = F.Model(F.InputText(name="name", label="Your name", value="World"), F.Submit("Greet"), F.Cancel("Cancel"))


async def greet(inputs: dict, tracer: Tracer) -> str:
    for number in range(3):
        print(f"thinking, step {number + 1}")
        await asyncio.sleep(0.2)
    await tracer.markdown(f"# Hello, {inputs['name']}!")
    return f"greeted {inputs['name']}"


@app.enter("/", form, summary="Hello", description="Greets you.", tags=["Example"], version="1.0.0")
async def enter(request: Request, inputs: dict):
    if not inputs.get("name"):
        raise InputsError(name="Please tell your name.")
    return Launch(request, greet, inputs=inputs)


@serve.deployment(ray_actor_options={"num_cpus": 0.1})
@serve.ingress(app)
class Hello: ...


fast_app = Hello.bind()
