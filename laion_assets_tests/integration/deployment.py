"""What deploy/ starts: each command as its file has it, paths and ports of a container mapped."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from laion_assets.settings import REPOSITORY
from laion_assets_tests.integration.web_ui import find_free_port, run_in_background

DEPLOY = REPOSITORY / "deploy"
# What Compose takes from deploy/.env; the hash is that of "let me in", made to be quick.
SETTINGS = {
    "LAION_HOST": "captions.example.org",
    "LAION_DAGSTER_HOST": "dagster.example.org",
    "LAION_LOGIN": "operator",
    "LAION_LOGIN_HASH": "$2a$04$Pl4ceholderPl4ceholderOuZ0dWbM0q7u9m1mWw8cGJm2gq0n0JY9e6",
}
PORTS = ("3000", "8000", "8001")


@dataclass(frozen=True)
class Instruction:
    """A line of a container file, with the lines that continue it."""

    stage: int
    name: str
    text: str


def read_container_file(path: Path) -> list[Instruction]:
    """Returns what a container file does, in order."""
    lines = [line for line in path.read_text("utf-8").splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    instructions, stage = [], -1
    for line in filter(None, map(str.strip, joined.splitlines())):
        name, _, text = line.partition(" ")
        stage += name == "FROM"
        instructions.append(Instruction(stage, name, text.strip()))
    return instructions


def read_last(instructions: Sequence[Instruction], name: str) -> list[str]:
    """Returns the last command of that name as its words: that of CMD or HEALTHCHECK."""
    (*_, text) = [instruction.text for instruction in instructions if instruction.name == name]
    words = json.loads(text[text.index("[") :])
    assert isinstance(words, list)
    return words


def read_environment(instructions: Sequence[Instruction]) -> dict[str, str]:
    """Returns what ENV sets in the last stage."""
    last = max(instruction.stage for instruction in instructions)
    texts = [i.text for i in instructions if i.name == "ENV" and i.stage == last]
    pairs = (word.partition("=") for text in texts for word in shlex.split(text))
    return {name: value for name, _, value in pairs}


IMAGE = read_container_file(DEPLOY / "Dockerfile")


def read_compose(settings: Mapping[str, str] = SETTINGS) -> dict[str, Any]:
    """Returns compose.yaml, with its variables replaced as Compose does."""
    text = (DEPLOY / "compose.yaml").read_text("utf-8")

    def replace(found: re.Match[str]) -> str:
        name, _, default = found["inside"].partition(":")
        if name not in settings and default.startswith("?"):
            raise KeyError(name)
        return settings.get(name, default.removeprefix("-"))

    document = yaml.safe_load(re.sub(r"\$\{(?P<inside>[^}]+)\}", replace, text))
    assert isinstance(document, dict)
    return document


def read_toml(name: str) -> dict[str, Any]:
    """Returns a file of deploy/."""
    return tomllib.loads((DEPLOY / name).read_text("utf-8"))


def read_unit(name: str) -> dict[str, dict[str, list[str]]]:
    """Returns a unit of systemd: the values of each key of each section."""
    sections: dict[str, dict[str, list[str]]] = {}
    section: dict[str, list[str]] = {}
    for line in (DEPLOY / "systemd" / name).read_text("utf-8").splitlines():
        if line.startswith("["):
            section = sections.setdefault(line.strip("[]"), {})
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            section.setdefault(key, []).append(value)
    return sections


class Place:
    """A folder that stands for the file system of a container or of a machine.

    Attributes:
        root: the folder; what a path such as `/data` becomes is below it.
        ports: the free port that stands for each port.
    """

    def __init__(self, root: Path, *folders: str, venv: Path | None = None) -> None:
        """Makes nothing yet.

        Args:
            root: the folder.
            folders: those of the container that are below it.
            venv: the environment of its programs; None: that of the tests.
        """
        self.root = root
        self.ports = {port: str(find_free_port()) for port in PORTS}
        programs = str(venv / "bin" if venv else Path(sys.executable).parent)
        self._paths = {folder: str(root / folder.lstrip("/")) for folder in folders}
        self._paths |= {"/venv/bin": programs, "/srv/laion/venv/bin": programs}
        if venv:
            self._paths["/venv"] = str(venv)

    def map(self, text: str) -> str:
        """Returns a word of a command, or a value, as it is in this place."""
        longest_first = sorted(map(re.escape, self._paths), key=len, reverse=True)
        pattern = rf"(?<![\w./-])({'|'.join(longest_first)})(?![\w.-])"
        text = re.sub(pattern, lambda found: self._paths[found[1]], text)
        for port, free in self.ports.items():
            text = re.sub(rf"(?<![\w.]){port}(?![\w.])", free, text)
        return text.replace("0.0.0.0", "127.0.0.1")  # noqa: S104

    def map_environment(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Returns all that a program finds in its environment: nothing of this process."""
        mapped = {name: self.map(value) for name, value in environment.items()}
        return {**mapped, "TMPDIR": str(self.root / "tmp")}

    def url(self, port: str) -> str:
        """Returns where a server is that listens at this port of its container."""
        return f"http://127.0.0.1:{self.ports[port]}"


@dataclass(frozen=True)
class Role:
    """A program of the deployment.

    Attributes:
        name: what it is called.
        command: as its file has it.
        environment: as its file has it, with that of its image.
        folder: where it starts.
        health: the command of its health check; empty if it has none.
        is_reading: whether it gets the data read-only.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    folder: str
    health: Sequence[str] = ()
    is_reading: bool = False

    def write_command(self, place: Place, words: Sequence[str] = ()) -> list[str]:
        """Returns the command, or another one, as it runs in a place."""
        program, *arguments = map(place.map, words or self.command)
        found = shutil.which(program, path=place.map_environment(self.environment)["PATH"])
        assert found, f"{program} is not in the PATH of {self.name}"
        return [*self._forbid_writing(), found, *arguments]

    def _forbid_writing(self) -> list[str]:
        # Permissions hold for root, too, without this capability.
        program = shutil.which("setpriv")
        if program and os.geteuid() == 0:
            return [program, "--bounding-set=-dac_override"]
        return []

    def run(self, place: Place, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs another command in the role's container, to its end."""
        return subprocess.run(
            self.write_command(place, words),
            cwd=place.map(self.folder),
            env=place.map_environment(self.environment),
            capture_output=True,
            text=True,
            check=False,
        )

    def is_healthy(self, place: Place) -> bool:
        """Returns what the health check says."""
        return self.run(place, *self.health).returncode == 0

    @contextmanager
    def start(self, place: Place) -> Iterator[subprocess.Popen[bytes]]:
        """Runs the role until the block is left; what it says is in `NAME.log`."""
        folder, environment = place.map(self.folder), place.map_environment(self.environment)
        log = place.root / f"{self.name}.log"
        command = self.write_command(place)
        with run_in_background(command, Path(folder), environment, log) as process:
            yield process


def read_roles() -> dict[str, Role]:
    """Returns the services of compose.yaml that are of our image."""
    roles = {}
    for name, service in read_compose()["services"].items():
        if service["image"] != "laion-assets":
            continue
        health = service.get("healthcheck", {}).get(
            "test", ["CMD", *read_last(IMAGE, "HEALTHCHECK")]
        )
        environment = {**read_environment(IMAGE), **service.get("environment", {})}
        reading = any(volume.endswith(":ro") for volume in service["volumes"])
        roles[name] = Role(name, service["command"], environment, "/laion", health[1:], reading)
    return roles


def make_container(folder: Path) -> Place:
    """Returns an empty container of our image, as its container file makes it."""
    place = Place(folder, "/data", "/laion", "/tmp")  # noqa: S108
    for path in ("data", "laion", "tmp"):
        (folder / path).mkdir(parents=True)
    for instruction in IMAGE:
        if instruction.name == "COPY" and instruction.text.endswith("/laion/"):
            *files, target = instruction.text.split()
            for file in files:
                shutil.copy(REPOSITORY / file, place.map(target))
    return place
