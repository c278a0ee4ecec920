"""A flow's code, copied into each actor's folder as ``actor_service.py``."""

import asyncio
import logging
import os
import subprocess
import sys
import time
import warnings

import ray


@ray.remote(num_cpus=0.1)
def calculate(i, tracer):
    tracer.debug_sync(f"in task {i}")
    return i * i


async def execute(inputs, tracer):
    futures = [calculate.remote(i, tracer) for i in range(inputs["tasks"])]
    total = []
    pending = futures
    while pending:
        done, pending = ray.wait(pending, timeout=0.01)
        for result in await asyncio.gather(*done):
            total.append(result)
            await tracer.markdown(f"have result `{result}`")
            print(f"{len(total)} of {inputs['tasks']}")
    return sorted(total)


def plain(inputs, tracer):
    print("got", ray.get([calculate.remote(i, tracer) for i in range(2)]))


def loud():
    print("printed")
    print("to stderr", file=sys.stderr)
    subprocess.run("echo from a child; echo child error >&2", shell=True, check=True)
    logging.getLogger("my.agent").info("logged")
    warnings.warn("look out", stacklevel=1)
    print("end")


@ray.remote(num_cpus=0)
def late(name, tracer):
    gate = ray.get_actor(name, namespace="gate")
    ray.get(gate.wait.remote())
    tracer.debug_sync("too late")
    ray.get(gate.tell.remote(tracer.cancelled))


def leaves_a_task(inputs, tracer):
    late.remote(inputs, tracer)


async def blocks(inputs, tracer):
    print("blocking")
    time.sleep(inputs)
    await tracer.debug("awake")


@ray.remote(num_cpus=0)
def passes(tracer, path, plainly):
    tracer.debug_sync(f"ready {tracer.attempt}")
    while not os.path.exists(path):
        time.sleep(0.01)
    try:
        tracer.checkpoint_sync() if plainly else asyncio.run(tracer.checkpoint())
    except asyncio.CancelledError:
        return "ended"
    tracer.debug_sync("passed")


async def has_tasks_pass(inputs, tracer):
    passing = [passes.remote(tracer, inputs, plainly) for plainly in (True, False)]
    try:
        await asyncio.gather(*passing)
    except asyncio.CancelledError:
        print(await asyncio.gather(*passing))
        raise
