"""Launches any agent: ``{"entry": name, "inputs": JSON text}``; one endpoint takes files, one has a ``Retry``."""

import json
from typing import Any

from fastapi import Request

from kodosumi.core import InputsError, Launch, Retry, ServeAPI
from kodosumi.core import forms as F

app = ServeAPI()
fields = (F.InputText(name="entry"), F.InputText(name="inputs"))
form = F.Model(*fields, F.Submit("Go"))
files_form = F.Model(
    *fields, F.InputFiles(name="first", multiple=True, directory=True), F.InputFiles(name="second"), F.Submit("Go")
)


@app.enter("/", form, summary="Faults")
async def enter(request: Request, inputs: dict):
    return Launch(request, f"agents:{inputs['entry']}", inputs=json.loads(inputs["inputs"] or "{}"))


@app.enter("/files", files_form, summary="Files")
async def enter_files(request: Request, inputs: dict):
    return Launch(request, f"agents:{inputs['entry']}", inputs=json.loads(inputs["inputs"] or "{}"))


@app.enter("/again", form, summary="Again", retry=Retry(max_attempts=3, on=["agents.Busy"], delay=0.05))
async def enter_again(request: Request, inputs: dict):
    return Launch(request, f"agents:{inputs['entry']}", inputs=json.loads(inputs["inputs"] or "{}"))


@app.lock("question")
async def question(data: dict[str, Any]) -> F.Model:
    return F.Model(
        F.Markdown(f"Question {data['number']}"),
        F.InputText(name="answer", required=True),
        F.InputFiles(name="proof"),
        F.Submit("Answer"),
    )


@app.lease("question")
def judge(data: dict[str, Any], inputs: dict[str, Any]) -> dict[str, Any] | None:
    if inputs["answer"] == "wrong":
        raise InputsError(answer="That is wrong.")
    return None if inputs["answer"] == "nothing" else {"to": data["number"], "answer": inputs["answer"]}


@app.lock("unleased")
def unleased(data: dict[str, Any]) -> F.Model:
    return F.Model(F.InputText(name="answer"), F.Checkbox(name="sure"), F.Submit("Answer"))
