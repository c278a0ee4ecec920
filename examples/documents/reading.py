"""The run: one Ray task for each file, on whichever node; the tracer that it takes brings the file to it."""

import tempfile
from pathlib import Path

import ray

from kodosumi.core import Tracer


def counted(text: str) -> dict:
    """Lines, words and characters of a text."""
    return {"lines": len(text.splitlines()), "words": len(text.split()), "characters": len(text)}


@ray.remote(num_cpus=0.1)
def read(path: str, tracer: Tracer) -> dict:
    """Counts one file and leaves a report beside the other results."""
    with tracer.fs_sync() as files, tempfile.TemporaryDirectory() as folder:
        with files.open(path) as stream:
            numbers = counted(stream.read_all().decode(errors="replace"))
        report = Path(folder) / f"{Path(path).name}.report.txt"
        report.write_text("".join(f"{name}: {number}\n" for name, number in numbers.items()))
        files.upload(str(report))
    tracer.action_sync({"file": path, **numbers})
    return numbers


async def read_all(inputs: dict, tracer: Tracer) -> dict:
    """Counts the text and every file; returns the numbers by name."""
    async with await tracer.fs() as files:
        paths = [file["path"] for file in await files.ls("in")]
        tasks = [read.remote(path, tracer) for path in paths]
        found = {path.removeprefix("in/"): await task for path, task in zip(paths, tasks, strict=True)}
        if inputs["text"]:
            found["text"] = counted(inputs["text"])
        reports = await files.ls("out")
    await tracer.markdown(f"{len(found)} documents are read, {len(reports)} reports are in the files of this run.")
    return found
