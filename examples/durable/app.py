"""A paid job: what it has paid for and been told stays so, whatever fails or dies in the middle."""

from fastapi import Request
from ray import serve

from durable.job import job
from durable.service import Busy
from kodosumi.core import Launch, Retry, ServeAPI
from kodosumi.core import forms as F

app = ServeAPI()

form = F.Model(
    F.Markdown("# Paid job\nOrders a research, asks you for the direction, then orders the article."),
    F.InputText(name="subject", label="Subject", value="Rivers", required=True),
    F.InputNumber(name="seconds", label="Seconds that each order takes", value=10, required=True, min_value=0),
    F.InputNumber(name="patience", label="Seconds to wait for your answer", value=600, required=True, min_value=1),
    F.Checkbox(name="trouble", label="Trouble", option="The first attempt fails"),
    F.Submit("Order"),
    F.Cancel("Cancel"),
)


@app.enter(
    "/",
    form,
    retry=Retry(max_attempts=3, on=[Busy], delay=0.5),
    summary="Paid job",
    description="Pays once, whatever fails.",
    tags=["Example", "Durable"],
)
async def enter(request: Request, inputs: dict):
    numbers = {name: float(inputs[name]) for name in ("seconds", "patience")}
    return Launch(request, job, inputs={"subject": inputs["subject"], "trouble": bool(inputs["trouble"]), **numbers})


@app.lock("direction")
async def direction(data: dict) -> F.Model:
    return F.Model(
        F.Markdown(f"# {data['subject']}\nThe research is there. Where shall the article go?"),
        F.Select(
            name="direction",
            label="Direction",
            option=[F.InputOption(name="in short", label="Short"), F.InputOption(name="at length", label="Long")],
        ),
        F.Submit("Go on"),
    )


@serve.deployment(ray_actor_options={"num_cpus": 0.1})
@serve.ingress(app)
class Durable: ...


fast_app = Durable.bind()
