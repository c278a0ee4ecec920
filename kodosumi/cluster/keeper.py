"""The process that holds a Ray cluster of ours, or a node of another: started by ``head.py``, ends Ray when its owner's
pipe closes.

Protocol: options as JSON in the argument; one line of JSON on standard output, ``{"address", "dashboard"}`` or
``{"error"}``; after that it waits for the end of its standard input.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any

from .finding import address_file, joinable

CHECK_EVERY_S = 1.0
KILL_AFTER_S = 3.0
RAYLET_TIMEOUT_S = 90.0
LOOK_EVERY_S = 0.2


def main() -> int:
    """Holds the cluster; the exit code is 1 when a part of Ray died."""
    options: dict[str, Any] = json.loads(sys.argv[1])
    # Only our line may reach the owner's pipe.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        node, facts = _start_patiently(options)
    except BaseException as exc:
        _tell(answer, {"error": str(exc) or type(exc).__name__})
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if "join" in options:
        return _hold_member(node, facts, answer)
    path = address_file(Path(options["temp_dir"]) if options["temp_dir"] else None)
    try:
        _replace(path, joinable(facts["address"]))
        _tell(answer, facts)
        return 0 if _hold(node) else 1
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _remove(path, joinable(facts["address"]))
        _stop(node)


def _hold_member(node: Any, facts: dict[str, Any], answer: Any) -> int:
    try:
        _tell(answer, facts)
        return 0 if _hold(node) else 1
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _stop(node)


def _start_patiently(options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Like :func:`_start`, with a second try where a part of Ray wasn't up in the time that Ray gives it."""
    _wait_for_raylet()
    try:
        return _start(options)
    except Exception as exc:
        if "timed out" not in str(exc):
            raise
        _end(_family())
        return _start(options)


def _wait_for_raylet() -> None:
    """Has Ray wait for its own raylet for longer than the 30 s it gives it, which a busy machine may not have."""
    from ray._private import services

    at_once = services.get_node

    def patiently(*args: Any, **keywords: Any) -> Any:
        until = time.monotonic() + RAYLET_TIMEOUT_S
        while True:
            try:
                return at_once(*args, **keywords)
            except RuntimeError:
                # Not known to the head yet.
                if time.monotonic() > until:
                    raise
            time.sleep(LOOK_EVERY_S)

    services.get_node = patiently


def _start(options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    # What `ray start --head --block` and a local `ray.init()` are made of. Neither of them gives all that's wanted:
    # the first waits ten seconds and writes to the terminal, the second runs an autoscaler and a driver for nothing.
    from ray._private.authentication.authentication_token_setup import ensure_token_if_auth_enabled
    from ray._private.node import Node
    from ray._private.parameter import RayParams

    if "join" in options:
        return _join(options)
    ensure_token_if_auth_enabled(None, create_token_if_missing=True)
    port = options["dashboard_port"]
    parameters = RayParams(
        node_ip_address="127.0.0.1",
        include_dashboard=port is not None,
        dashboard_host="127.0.0.1",
        dashboard_port=port,
        # Any free one: of two Rays on a machine the second would try for three seconds to get Ray's fixed port.
        dashboard_agent_listen_port=0,
        num_cpus=options["num_cpus"],
        object_store_memory=options["object_store_bytes"],
        temp_dir=options["temp_dir"],
        include_log_monitor=port is not None,
        no_monitor=True,
    )
    node = Node(parameters, head=True, shutdown_at_exit=False, spawn_reaper=True)
    url = node.address_info["webui_url"]
    return node, {"address": node.address_info["gcs_address"], "dashboard": f"http://{url}" if url else None}


def _join(options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    # What `ray start --address … --block` is made of.
    from ray._private import services
    from ray._private.authentication.authentication_token_setup import ensure_token_if_auth_enabled
    from ray._private.node import Node
    from ray._private.parameter import RayParams

    ensure_token_if_auth_enabled(None, create_token_if_missing=False)
    head = services.canonicalize_bootstrap_address(options["join"])
    parameters = RayParams(
        gcs_address=head,
        node_ip_address=services.get_node_ip_address(head),
        num_cpus=options["num_cpus"],
        object_store_memory=options["object_store_bytes"],
        labels=options["labels"],
        include_log_monitor=False,
    )
    node = Node(parameters, head=False, shutdown_at_exit=False, spawn_reaper=True)
    return node, {"address": options["join"], "dashboard": None}


def _hold(node: Any) -> bool:
    """Waits until the owner is gone (True) or a process of Ray is (False)."""
    while True:
        readable, _, _ = select.select([sys.stdin], [], [], CHECK_EVERY_S)
        if readable and not os.read(sys.stdin.fileno(), 1024):
            return True
        if node.dead_processes():
            return False


def _stop(node: Any) -> None:
    """Ends Ray, and whatever of it is left after that: workers may be busy in code that notices nothing."""
    family = _family()
    node.kill_all_processes(check_alive=False, allow_graceful=True)
    _end(family, KILL_AFTER_S)


def _family() -> list[Any]:
    import psutil  # type: ignore[import-untyped]  # comes with Ray

    return list(psutil.Process().children(recursive=True))


def _end(family: list[Any], grace_s: float = 0.0) -> None:
    import psutil

    _, stubborn = psutil.wait_procs(family, timeout=grace_s)
    for process in stubborn:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(stubborn, timeout=KILL_AFTER_S)


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    partial.write_text(text)
    partial.replace(path)


def _remove(path: Path, text: str) -> None:
    try:
        if path.read_text() == text:
            path.unlink()
    except OSError:
        return


def _tell(stream: Any, facts: dict[str, Any]) -> None:
    try:
        stream.write(json.dumps(facts) + "\n")
        stream.close()
    except BrokenPipeError:
        return


if __name__ == "__main__":
    sys.exit(main())
