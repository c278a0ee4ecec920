"""The commands of the how-to, as they stand there."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[4] / "docs/how-to/upload-and-download.md"
TOOLS = ("bash", "curl", "jq", "split", "sha256sum")
CONTENT = os.urandom(2_500_000)


async def test_the_commands_of_the_how_to_do_what_it_says(alice: Any, address: str, run: str, tmp_path: Path) -> None:
    if lacking := [tool for tool in TOOLS if shutil.which(tool) is None]:
        pytest.skip(f"no {', '.join(lacking)} on this machine")
    folder = tmp_path / "shell"
    folder.mkdir()
    (folder / "report.pdf").write_bytes(CONTENT)
    commands = "\n".join(re.findall(r"```bash\n(.*?)```", PAGE.read_text(), re.DOTALL))
    process = await asyncio.create_subprocess_exec(
        *("bash", "-euo", "pipefail", "-c", commands),
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PANEL": address, "KEY": alice.key, "FID": run},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, problems = await process.communicate()
    assert process.returncode == 0, (output, problems)
    assert (folder / "copy.pdf").read_bytes() == CONTENT
    assert (folder / "first-kib").read_bytes() == CONTENT[:1024]
    assert (folder / "in.zip").stat().st_size > len(CONTENT)
    assert (await alice.get(f"/files/{run}/in")).json() == []
