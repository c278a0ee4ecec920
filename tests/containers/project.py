"""One project of Docker Compose: the stack as a user runs it, under a name, on a port and with secrets of its own."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.servers.server import free_port
from tests.stack import ROOT

VERSION = "test"
"""Of the image that `make test-containers` builds: what somebody runs from this checkout stays as it is."""
IMAGE = f"kodosumi:{VERSION}"
START_S = 1200
"""What the whole stack may take to start on a small machine; it fails earlier when a part ends."""
COMMAND_S = 1500.0
ASIDE = ("KODO_", "COMPOSE_", "POSTGRES_", "REDIS_", "RAY_", "TEMPORAL_")
"""Begin of variables that Compose would take rather than those of the project's own file."""


class Project:
    """Containers, volumes and networks of one name.

    Args:
        folder: where its ``.env`` is written. files: Compose's, below the root. root: the checkout.
        settings: further variables of ``.env``.
    """

    def __init__(
        self, folder: Path, files: Sequence[str] = ("docker-compose.yml",), root: Path = ROOT, **settings: str
    ) -> None:
        self.name = f"kodotest{uuid.uuid4().hex[:8]}"
        self.port, self.temporal_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.env_file = folder / ".env"
        self._files = [root / file for file in files]
        write_env(self.env_file)
        ports = {"KODO_PORT": str(self.port), "TEMPORAL_UI_PORT": str(self.temporal_port)}
        self.set(KODO_VERSION=VERSION, **ports, **settings)

    # its settings --------------------------------------------------------------------------------------------------

    def set(self, **settings: str) -> None:
        """Changes variables in ``.env``, as a user edits it; they hold from the next :meth:`up` on."""
        kept = [line for line in self.env_file.read_text().splitlines() if line.partition("=")[0] not in settings]
        self.env_file.write_text("\n".join([*kept, *(f"{name}={text}" for name, text in settings.items()), ""]))

    def setting(self, name: str) -> str:
        """A variable of ``.env``."""
        lines = (line.partition("=") for line in self.env_file.read_text().splitlines())
        return next(text for found, _, text in lines if found == name)

    # Compose's commands --------------------------------------------------------------------------------------------

    def compose(self, *arguments: str, timeout_s: float = COMMAND_S) -> str:
        """What a command of Compose prints.

        Raises:
            AssertionError: it failed; shows what it said.
        """
        command = ["docker", "compose", "--ansi=never", "--project-name", self.name, "--env-file", str(self.env_file)]
        for file in self._files:
            command += ["--file", str(file)]
        return run([*command, *arguments], timeout_s)

    def up(self, *arguments: str) -> None:
        """Starts what doesn't run, or was changed, and returns when all is well; the image is what was built before.

        Raises:
            AssertionError: it didn't come to that; shows what the containers said.
        """
        try:
            self.compose("up", "--detach", "--wait", "--wait-timeout", str(START_S), "--no-build", *arguments)
        except AssertionError as exc:
            raise AssertionError(f"{exc}\n{self.logs()}") from None

    def down(self, *, volumes: bool = False) -> None:
        """Removes its containers, those of a profile too; and what they kept."""
        self.compose("--profile", "*", "down", "--remove-orphans", *(["--volumes"] if volumes else []))

    def exec(self, service: str, *command: str, index: int = 1, **environment: str) -> str:
        """What a command prints in a container of a service."""
        variables = [word for name, text in environment.items() for word in ("--env", f"{name}={text}")]
        return self.compose("exec", "--no-TTY", "--index", str(index), *variables, service, *command)

    # its containers ------------------------------------------------------------------------------------------------

    def containers(self, service: str | None = None) -> list[dict[str, Any]]:
        """What the engine knows of its containers, or those of one service, ended ones too; by number."""
        labels = [f"label=com.docker.compose.project={self.name}"]
        if service is not None:
            labels.append(f"label=com.docker.compose.service={service}")
        filters = [word for label in labels for word in ("--filter", label)]
        ids = run(["docker", "ps", "--all", "--quiet", *filters]).split()
        found: list[dict[str, Any]] = json.loads(run(["docker", "inspect", *ids])) if ids else []
        return sorted(
            found, key=lambda one: (service_of(one), int(_labels(one)["com.docker.compose.container-number"]))
        )

    def container(self, id_: str) -> dict[str, Any]:
        """What the engine knows of one of them now."""
        return next(one for one in self.containers() if one["Id"] == id_)

    def crash(self, service: str, index: int = 1) -> str:
        """Kills all processes of a container from outside, so that it counts as crashed; returns the container's id."""
        container = self.containers(service)[index - 1]
        kill = f"import os; os.kill({container['State']['Pid']}, 9)"
        engine = ["docker", "run", "--rm", "--pid=host", "--network=none", "--user=0", "--entrypoint=python"]
        run([*engine, IMAGE, "-c", kill])
        return str(container["Id"])

    def logs(self, lines: int = 60) -> str:
        """The end of what its containers said, and how they are."""
        state = self.compose("--profile", "*", "ps", "--all")
        return state + self.compose("--profile", "*", "logs", "--no-color", "--tail", str(lines))

    # its servers ---------------------------------------------------------------------------------------------------

    def sql(self, query: str) -> list[Any]:
        """The rows of a query, each one JSON value, asked inside of the stack."""
        psql = 'psql -U "${POSTGRES_USER:-postgres}" -d "${POSTGRES_DB:-${POSTGRES_USER:-postgres}}" -AtXq -c "$0"'
        return [json.loads(line) for line in self.exec("postgres", "sh", "-c", psql, query).splitlines()]

    def redis(self, *command: str) -> list[str]:
        """The lines of Redis' answer, asked inside of the stack."""
        password = self.setting("REDIS_PASSWORD")
        return self.exec("redis", "redis-cli", *command, REDISCLI_AUTH=password).split("\n")[:-1]


def service_of(container: dict[str, Any]) -> str:
    """The service that a container is of."""
    return _labels(container)["com.docker.compose.service"]


def _labels(container: dict[str, Any]) -> dict[str, str]:
    labels: dict[str, str] = container["Config"]["Labels"]
    return labels


def write_env(path: Path) -> None:
    """Writes a file of secrets, by the command that users have for it."""
    run([str(ROOT / "scripts" / "write-env"), str(path)])


def environment() -> dict[str, str]:
    """This process's variables without those that a stack is set up by."""
    return {name: text for name, text in os.environ.items() if not name.startswith(ASIDE)}


def run(command: Sequence[str], timeout_s: float = COMMAND_S) -> str:
    """What a command prints to its standard output.

    Raises:
        AssertionError: it failed; shows what it said.
    """
    done = subprocess.run(
        command,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout_s,
    )
    if done.returncode:
        raise AssertionError(f"{' '.join(command)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
    return done.stdout
