"""The endpoint: the form, what it accepts, and the launch of the entrypoint in ``calc.py``."""

import uvicorn
from fastapi import Request
from ray import serve

from kodosumi.core import InputsError, Launch, ServeAPI
from kodosumi.core import forms as F

MOST_TASKS = 500

app = ServeAPI()

form = F.Model(
    F.Markdown("""
    # My service
    Say how many tasks the cluster should work on. How many run at once depends on its size.
    """),
    F.Break(),
    F.InputText(name="tasks", label="Number of tasks", value="25"),
    F.Submit("Start"),
    F.Cancel("Cancel"),
)


@app.enter(
    path="/",
    model=form,
    summary="My service",
    description="Spreads a number of tasks over the cluster.",
    tags=["Example"],
    version="1.0.0",
    author="you@example.com",
)
async def enter(request: Request, inputs: dict):
    error = InputsError()
    try:
        tasks = int(inputs.get("tasks") or 0)
    except ValueError:
        tasks = 0
    if tasks < 1:
        error.add(tasks="Say a number of tasks, 1 or more.")
    if tasks > MOST_TASKS:
        error.add(tasks=f"At most {MOST_TASKS} tasks.")
    if error.has_errors():
        raise error
    return Launch(request, "my_service.calc:execute", inputs={"tasks": tasks})


@serve.deployment(ray_actor_options={"num_cpus": 0.1})
@serve.ingress(app)
class MyService: ...


fast_app = MyService.bind()

if __name__ == "__main__":
    uvicorn.run("my_service.app:app", port=8005, reload=True)
