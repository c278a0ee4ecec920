"""The run: it is begun anew after a failure or a loss, and still nothing is paid for, or asked, twice."""

import os

from durable.service import Busy, order
from kodosumi.core import Tracer


async def job(inputs: dict, tracer: Tracer) -> dict:
    """Orders the research, asks a person for the direction, and orders the article."""
    print(f"attempt {tracer.attempt} in process {os.getpid()}")
    bill = []

    async def pay_for(step: str, what: str) -> None:
        # A new attempt comes by here again. The key is the same then, so the service knows that it has been paid.
        ordered = await order(what, inputs["seconds"], key=f"{tracer.fid}-{step}")
        await tracer.action({"step": step, "attempt": tracer.attempt, **ordered})
        bill.append(ordered["price"])

    await pay_for("research", f"Research on {inputs['subject']}")
    try:
        # Equal name and data: a new attempt joins the open question, or gets the answer that was given already.
        chosen = await tracer.lock("direction", data={"subject": inputs["subject"]}, timeout=inputs["patience"])
    except TimeoutError:
        chosen = {"direction": "as it comes"}
    if inputs["trouble"] and tracer.attempt == 1:
        raise Busy("The service has no time just now.")
    await tracer.checkpoint()
    await pay_for("article", f"An article on {inputs['subject']}, {chosen['direction']}")
    await tracer.markdown(f"**{inputs['subject']}**, {chosen['direction']}: done in attempt {tracer.attempt}.")
    return {"attempts": tracer.attempt, "direction": chosen["direction"], "paid": sum(bill)}
