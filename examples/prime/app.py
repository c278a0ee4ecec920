"""Two flows in one app: primes by a coroutine at ``/``, by a plain function at ``/sync``."""

from fastapi import Request
from ray import serve

from kodosumi.core import Launch, ServeAPI
from kodosumi.core import forms as F
from prime.search import search, search_sync

app = ServeAPI()


def form(title: str) -> F.Model:
    """The form of both flows; what it declares is checked by the server too."""
    return F.Model(
        F.Markdown(f"# {title}"),
        F.InputNumber(
            name="limit", label="Search below", value=20000, required=True, min_value=2, max_value=5_000_000, step=1
        ),
        F.InputNumber(name="parts", label="Parts", value=4, required=True, min_value=1, max_value=64, step=1),
        F.Submit("Search"),
        F.Cancel("Cancel"),
    )


def numbers(inputs: dict) -> dict:
    """The fields as integers."""
    return {name: int(inputs[name]) for name in ("limit", "parts")}


@app.enter("/", form("Primes"), summary="Primes", description="Counts primes asynchronously.", tags=["Example", "Ray"])
async def enter(request: Request, inputs: dict):
    return Launch(request, search, inputs=numbers(inputs))


@app.enter(
    "/sync", form("Primes, plainly"), summary="Primes, plainly", description="Counts primes in a plain function."
)
def enter_sync(request: Request, inputs: dict):
    return Launch(request, search_sync, inputs=numbers(inputs))


@serve.deployment(ray_actor_options={"num_cpus": 0.1})
@serve.ingress(app)
class Prime: ...


fast_app = Prime.bind()
