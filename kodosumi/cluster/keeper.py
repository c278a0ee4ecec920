"""The process that holds a Ray cluster of ours: started by ``head.py``, ends Ray when its owner's pipe closes.

Protocol: options as JSON in the argument; one line of JSON on standard output, ``{"address", "dashboard"}`` or
``{"error"}``; after that it waits for the end of its standard input.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
from pathlib import Path
from typing import Any

from .finding import address_file, joinable

CHECK_EVERY_S = 1.0
KILL_AFTER_S = 3.0


def main() -> int:
    """Holds the cluster; the exit code is 1 when a part of Ray died."""
    options: dict[str, Any] = json.loads(sys.argv[1])
    # Only our line may reach the owner's pipe.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        facts = _start(options)
    except BaseException as exc:
        _tell(answer, {"error": str(exc) or type(exc).__name__})
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    path = address_file(Path(options["temp_dir"]) if options["temp_dir"] else None)
    try:
        _replace(path, joinable(facts["address"]))
        _tell(answer, facts)
        return 0 if _hold() else 1
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _remove(path, joinable(facts["address"]))
        _stop()


def _start(options: dict[str, Any]) -> dict[str, Any]:
    import ray

    port = options["dashboard_port"]
    context = ray.init(
        "local",
        include_dashboard=port is not None,
        dashboard_host="127.0.0.1",
        dashboard_port=port,
        num_cpus=options["num_cpus"],
        object_store_memory=options["object_store_bytes"],
        log_to_driver=False,
        configure_logging=False,
        _node_ip_address="127.0.0.1",
        _temp_dir=options["temp_dir"],
    )
    url = context.address_info["webui_url"]
    return {"address": context.address_info["gcs_address"], "dashboard": f"http://{url}" if url else None}


def _hold() -> bool:
    """Waits until the owner is gone (True) or a process of Ray is (False)."""
    from ray._private import worker

    while True:
        readable, _, _ = select.select([sys.stdin], [], [], CHECK_EVERY_S)
        if readable and not os.read(sys.stdin.fileno(), 1024):
            return True
        if worker._global_node is None or worker._global_node.dead_processes():
            return False


def _stop() -> None:
    """Ends Ray, and whatever of it is left after that: workers may be busy in code that notices nothing."""
    import psutil  # type: ignore[import-untyped]  # comes with Ray
    import ray

    family = psutil.Process().children(recursive=True)
    ray.shutdown()
    _, stubborn = psutil.wait_procs(family, timeout=KILL_AFTER_S)
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
