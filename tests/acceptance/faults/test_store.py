"""The disk is full: launches are refused with the reason, health says so, and it all goes on once there is room."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from kodosumi.cluster import Head
from tests.acceptance.faults.plant import Plant, numbers, texts, wait_for

pytestmark = pytest.mark.fault

REASON = "no space is left"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def told(health: httpx.Response, word: str) -> set[str]:
    """The parts of which health gives a reason with a word."""
    return {reason.partition(":")[0] for reason in health.json()["reasons"] if word in reason}


def fill(folder: Path) -> Path:
    """Leaves no room at all."""
    filler = folder / "filler"
    with filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    return filler


def test_a_full_disk_refuses_launches_with_the_reason_and_recovers_by_itself(
    small_disk: Path, make_plant, head: Head, gate: Path
) -> None:
    plant: Plant = make_plant(head.address, exec_dir=small_disk / "execution")
    plant.start()
    # One process is left that may serve: a refusal isn't for want of one.
    plant.stream(plant.launch("count", n=1))
    fid = plant.launch("burst", gate=str(gate))
    plant.stored(fid, "result", 1_000)

    filler = fill(small_disk)
    # Another part may be late with its answer before, which is a 503 too.
    health = wait_for(plant.health, lambda answer: "store" in told(answer, REASON))
    assert health.status_code == 503
    refusal = wait_for(lambda: plant.ask("count", n=1), lambda answer: answer.status_code == 503)
    assert REASON in refusal.json()["detail"], refusal.text
    listed = plant.client.get("/timeline", params={"pp": 1})
    assert listed.status_code == 200, "what is stored is read all the same"

    gate.touch()
    filler.unlink()
    wait_for(plant.health, lambda answer: answer.status_code == 200)
    again = wait_for(lambda: plant.ask("count", n=5), lambda answer: answer.status_code == 200)

    events = plant.stream(fid)
    assert numbers(events) == list(range(len(numbers(events))))
    assert texts(events, "final") == [f'{{"int": {len(numbers(events))}}}']
    assert numbers(plant.stream(again.json()["result"])) == [0, 1, 2, 3, 4]
    # What was accepted while the disk filled up is there too.
    for item in plant.client.get("/timeline", params={"pp": 50}).json()["items"]["append"]:
        plant.stream(item["fid"])
