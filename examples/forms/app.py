"""Every form element once, and a run that shows what arrives."""

from fastapi import Request
from ray import serve

from kodosumi.core import InputsError, Launch, ServeAPI, Tracer
from kodosumi.core import forms as F

app = ServeAPI()

form = F.Model(
    F.Errors(),
    F.Markdown("# Every element\nSend it off, and the result shows what your endpoint gets."),
    F.HTML("<p>Plain <strong>HTML</strong> is cleaned before it is shown.</p>"),
    F.HR(),
    F.InputText(name="text", label="Text", value="some text", required=True, placeholder="not empty"),
    F.InputText(name="code", label="Code of three capitals", value="ABC", pattern="[A-Z]{3}", size=5),
    F.InputNumber(name="number", label="Number from 0 to 10", value=0, min_value=0, max_value=10, step=0.5),
    F.InputPassword(name="password", label="Password of 4 to 12 characters", min_length=4, max_length=12),
    F.InputDate(name="date", label="Date in this century", min_date="2001-01-01", max_date="2100-12-31"),
    F.InputTime(name="time", label="Time of the day", min_time="06:00", max_time="22:00"),
    F.InputDateTime(name="moment", label="Date and time"),
    F.InputArea(name="area", label="Several lines", rows=4, cols=60, max_length=500),
    F.Break(),
    F.Checkbox(name="checked", option="I have read this", label="Checkbox"),
    F.Select(
        name="colour",
        label="Colour",
        option=[F.InputOption(name="red", label="Red"), F.InputOption(name="blue", label="Blue", value=True)],
    ),
    F.InputFiles(name="files", label="Files", multiple=True),
    F.HR(),
    F.Submit("Send"),
    F.Action(name="variant", value="short", text="Send the short way"),
    F.Cancel("Cancel"),
)


async def show(inputs: dict, tracer: Tracer) -> dict:
    """Returns what came in; a password is only counted."""
    await tracer.html(f"<p>{len(inputs)} fields arrived.</p>")
    password = inputs.pop("password", None) or ""
    return {**inputs, "password": f"{len(password)} characters"}


@app.enter("/", form, summary="Every form element", description="Shows what a form sends.", tags=["Example", "Forms"])
async def enter(request: Request, inputs: dict):
    if inputs.get("text") == "fail":
        raise InputsError("This form cannot be sent.", text="Any other text will do.")
    inputs.pop("_global_", None)
    return Launch(request, show, inputs=inputs)


@serve.deployment(ray_actor_options={"num_cpus": 0.1})
@serve.ingress(app)
class Forms: ...


fast_app = Forms.bind()
