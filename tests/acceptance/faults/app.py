"""One endpoint that launches any of the agents: ``{"entry": name, "inputs": JSON text}``."""

import json

from fastapi import Request

from kodosumi.core import Launch, ServeAPI
from kodosumi.core import forms as F

app = ServeAPI()
form = F.Model(F.InputText(name="entry"), F.InputText(name="inputs"), F.Submit("Go"))


@app.enter("/", form, summary="Faults")
async def enter(request: Request, inputs: dict):
    return Launch(request, f"agents:{inputs['entry']}", inputs=json.loads(inputs["inputs"] or "{}"))
