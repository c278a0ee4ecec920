"""A purchase that waits for people: its buyer confirms it, and a large one is released by somebody else."""

from fastapi import Request
from ray import serve

from approval.purchase import LARGE, purchase
from kodosumi.core import InputsError, Launch, ServeAPI
from kodosumi.core import forms as F

app = ServeAPI()

form = F.Model(
    F.Markdown(f"# Purchase\nWhat costs {LARGE} or more is released by a second person."),
    F.InputText(name="purpose", label="What for", value="A chair", required=True),
    F.InputNumber(name="amount", label="Amount", value=120, required=True, min_value=1, step=1),
    F.InputNumber(name="patience", label="Seconds to wait for each answer", value=600, required=True, min_value=1),
    F.Submit("Ask"),
    F.Cancel("Cancel"),
)


@app.enter("/", form, summary="Approval", description="Waits for people.", tags=["Example", "People"])
async def enter(request: Request, inputs: dict):
    numbers = {name: float(inputs[name]) for name in ("amount", "patience")}
    return Launch(request, purchase, inputs={"purpose": inputs["purpose"], **numbers})


@app.lock("confirm")
async def confirm_form(data: dict) -> F.Model:
    return F.Model(
        F.Markdown(f"# {data['purpose']}\nIt costs **{data['amount']:g}**. How much may be spent?"),
        F.InputNumber(name="limit", label="At most", value=data["amount"], required=True, min_value=0),
        F.InputArea(name="note", label="Note", rows=3, max_length=500),
        F.Submit("Confirm"),
    )


@app.lease("confirm")
async def confirm(data: dict, inputs: dict) -> dict:
    limit = float(inputs["limit"])
    if 0 < limit < data["amount"]:
        raise InputsError(limit=f"It costs {data['amount']:g}: allow that much, or nothing.")
    return {"limit": limit, "note": inputs["note"] or ""}


@app.lock("release")
async def release_form(data: dict) -> F.Model:
    return F.Model(
        F.Markdown(f"# Release {data['amount']:g} for {data['purpose']}?\nWho asked for it cannot answer."),
        F.Checkbox(name="released", label="Release", option="Yes, buy it"),
        F.Submit("Answer"),
    )


@serve.deployment(ray_actor_options={"num_cpus": 0.1})
@serve.ingress(app)
class Approval: ...


fast_app = Approval.bind()
