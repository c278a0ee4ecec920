"""The run: it asks, waits without holding anything that others need, and goes on with the answers."""

from kodosumi.core import Tracer

LARGE = 1000
"""Purchases of so much need a second person."""


async def purchase(inputs: dict, tracer: Tracer) -> dict:
    """Asks for a confirmation, for a large amount also for a release by somebody else, and says what became of it."""
    try:
        confirmed = await tracer.lock("confirm", data=inputs, timeout=inputs["patience"])
        if confirmed["limit"] < inputs["amount"]:
            return {"bought": False, "why": "not confirmed"}
        if inputs["amount"] >= LARGE:
            # There is no lease handler for it, so the form's values are the answer.
            answer = await tracer.lock("release", data=inputs, timeout=inputs["patience"], four_eyes=True)
            if not answer["released"]:
                return {"bought": False, "why": "not released"}
    except TimeoutError:
        return {"bought": False, "why": "nobody answered in time"}
    await tracer.markdown(f"**{inputs['purpose']}** is bought. {confirmed['note']}")
    return {"bought": True, "note": confirmed["note"]}
