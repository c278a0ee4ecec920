"""The entrypoint: it hands the work to the cluster and tells how far it is."""

import asyncio
import datetime
import time
from random import uniform

import ray

from kodosumi.core import Tracer

MEAN_S = 0.2


@ray.remote(num_cpus=0.1)
def calculate(task: int, tracer: Tracer) -> dict:
    """One task of the work, on any process of the cluster; the tracer travels with it."""
    began = datetime.datetime.now(datetime.UTC)
    seconds = uniform(MEAN_S / 2, MEAN_S)
    time.sleep(seconds)
    tracer.debug_sync(f"task {task} waited {seconds:.2f} s")
    return {"task": task, "began": began, "seconds": round(seconds, 2)}


async def execute(inputs: dict, tracer: Tracer) -> dict:
    """Runs ``inputs["tasks"]`` tasks at once and returns what they say, in the order in which they ended."""
    tasks = inputs["tasks"]
    pending = [calculate.remote(task, tracer) for task in range(tasks)]
    results: list[dict] = []
    while pending:
        done, pending = ray.wait(pending, num_returns=len(pending), timeout=0.05)
        if done:
            results.extend(await asyncio.gather(*done))
            print(f"{len(results)} of {tasks} tasks are done")
        await asyncio.sleep(0.05)
    longest = max(result["seconds"] for result in results)
    await tracer.markdown(f"**{tasks} tasks** are done; the longest took {longest} s.")
    return {"tasks": tasks, "longest_s": longest, "results": results}
