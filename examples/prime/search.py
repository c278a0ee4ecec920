"""Counts primes, once as a coroutine and once as a plain function; both spread the work over Ray tasks."""

import asyncio
import itertools
import math

import ray

from kodosumi.core import Tracer


def is_prime(number: int) -> bool:
    """Whether a number has no divisor but 1 and itself."""
    return number > 1 and all(number % divisor for divisor in range(2, math.isqrt(number) + 1))


@ray.remote(num_cpus=0.1)
def primes_between(first: int, last: int, tracer: Tracer) -> list[int]:
    """The primes of ``first <= n < last``; its events are the run's own, whichever process it runs in."""
    found = [number for number in range(first, last) if is_prime(number)]
    tracer.action_sync({"from": first, "to": last, "primes": len(found)})
    return found


def ranges(limit: int, parts: int) -> list[tuple[int, int]]:
    """``parts`` neighbouring ranges that cover ``0 <= n < limit``."""
    bounds = [limit * part // parts for part in range(parts + 1)]
    return list(itertools.pairwise(bounds))


async def search(inputs: dict, tracer: Tracer) -> dict:
    """The asynchronous way: awaits each Ray task while others run."""
    futures = [primes_between.remote(first, last, tracer) for first, last in ranges(inputs["limit"], inputs["parts"])]
    found: list[int] = []
    for done, future in enumerate(asyncio.as_completed(futures), 1):
        found.extend(await future)
        print(f"{done} of {len(futures)} parts are searched")
    await tracer.markdown(f"There are **{len(found)} primes** below {inputs['limit']}.")
    return {"count": len(found), "largest": max(found, default=None)}


def search_sync(inputs: dict, tracer: Tracer) -> dict:
    """The plain way: blocks in ``ray.get``; events still leave, and the run can still be cancelled."""
    futures = [primes_between.remote(first, last, tracer) for first, last in ranges(inputs["limit"], inputs["parts"])]
    found = [number for part in ray.get(futures) for number in part]
    tracer.markdown_sync(f"There are **{len(found)} primes** below {inputs['limit']}.")
    return {"count": len(found), "largest": max(found, default=None)}
