"""The container engine that the tests use, if one answers, and the machine as its containers see it.

An engine may run in a network namespace of its own. There published ports answer, and builds reach no index of
packages, so commands enter it, and a build gets an index that this module serves there.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.services import ROOT, until

NO_ENGINE = "no container engine"
"""How the reason of the one skip begins that is allowed where servers are required."""
IMAGES = ("postgres:16-alpine", "redis:7-alpine", "python:3.12-slim")
"""Images that docker-compose.yml and the Dockerfile name."""
EXTRAS = ("standalone", "server", "postgres")
"""Extras of the package that the Dockerfile installs."""
BUILD_SECONDS = 1200.0
INDEX_PORT = 8099
PLATFORMS = ("manylinux2014", "manylinux_2_17", "manylinux_2_28", "manylinux_2_34")


class NoEngineError(Exception):
    """No engine answers that can run the stack."""


def run(*command: str, seconds: float = 120, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, and keep what it prints."""
    return subprocess.run(command, capture_output=True, text=True, timeout=seconds, **options)  # type: ignore[call-overload,no-any-return]


def done(*command: str, seconds: float = 120, **options: object) -> str:
    """What a command prints; AssertionError if it fails."""
    result = run(*command, seconds=seconds, **options)
    assert result.returncode == 0, f"{' '.join(command)}: {result.stdout[-3000:]}{result.stderr[-3000:]}"
    return result.stdout


class Engine:
    """The engine that ``docker`` reaches, and the network of its machine."""

    def __init__(self) -> None:
        """Raises NoEngineError where no engine answers, or where it lacks Compose v2 or an image."""
        self._require()
        self._anchor = done(
            "docker", "run", "--detach", "--rm", "--network", "host", IMAGES[2], "sleep", "7200"
        ).strip()
        self._index: subprocess.Popen[bytes] | None = None
        self.entering = self._entering()
        """The beginning of commands on the machine: empty if this process is there."""
        if self.entering and run(*self.entering, "true").returncode:
            self.close()
            raise NoEngineError(f"{NO_ENGINE} whose network this process may enter")

    def _require(self) -> None:
        for name in ("docker", "curl", "git"):
            if shutil.which(name) is None:
                raise NoEngineError(f"{NO_ENGINE} can be used, as there is no command {name}")
        for command in (["docker", "info"], ["docker", "compose", "version"]):
            result = run(*command)
            if result.returncode:
                raise NoEngineError(f"{NO_ENGINE} answers `{' '.join(command)}`: {result.stderr.strip()[:200]}")
        for image in IMAGES:
            if run("docker", "image", "inspect", image).returncode and run("docker", "pull", image).returncode:
                raise NoEngineError(f"{NO_ENGINE} that has the image {image}, or can pull it")

    def _entering(self) -> list[str]:
        pid = done("docker", "inspect", "--format", "{{.State.Pid}}", self._anchor).strip()
        try:
            other = os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net")
        except OSError:
            return []
        return ["nsenter", "--target", pid, "--net"] if other else []

    def shell(self, line: str, seconds: float = 120, **options: object) -> str:
        """What a line of shell prints that is run on the machine."""
        return done(*self.entering, "bash", "-c", line, seconds=seconds, **options)

    def listen(self, port: int) -> subprocess.Popen[bytes]:
        """A process that takes a port of the machine; it ends at once if another has taken it."""
        command = [*self.entering, sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")

    def free_port(self, wanted: int) -> int:
        """``wanted`` if it is free on the machine, else another."""
        if self.entering:
            return wanted
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", wanted))
            except OSError:
                probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    def override(self, work: Path) -> str:
        """The override file that a build on this engine needs; empty if it needs none."""
        if not self.entering:
            return ""
        if self._index is None:
            self._serve_index(work / "index")
        url = f"http://127.0.0.1:{INDEX_PORT}/"
        return f"services: {{migrate: {{build: {{network: host, args: {{PIP_INDEX_URL: '{url}'}}}}}}}}\n"

    def _serve_index(self, index: Path) -> None:
        """Serve the dependencies, which this machine's pip loads, as an index in the engine's network."""
        wheels = index / "wheels"
        done(*_download(wheels), seconds=BUILD_SECONDS)
        for wheel in wheels.iterdir():
            project = index / re.sub(r"[-_.]+", "-", wheel.name.partition("-")[0]).lower()
            project.mkdir(exist_ok=True)
            wheel.rename(project / wheel.name)
        command = [*self.entering, sys.executable, "-m", "http.server", str(INDEX_PORT), "--bind", "127.0.0.1"]
        self._index = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=index)
        url = f"http://127.0.0.1:{INDEX_PORT}/django/"
        until(lambda: run(*self.entering, "curl", "--fail", "--silent", url).returncode == 0, 30)

    def close(self) -> None:
        """End what was started on the machine."""
        if self._index is not None:
            self._index.kill()
            self._index.wait()
        run("docker", "rm", "--force", self._anchor)


def _download(wheels: Path) -> list[str]:
    """The command that loads the wheels of the image's dependencies for its Python."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [line for name in EXTRAS for line in project["optional-dependencies"][name]]
    version = done(
        "docker", "run", "--rm", IMAGES[2], "python", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"
    )
    tags = [f"--platform={name}_{platform.machine()}" for name in PLATFORMS]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(wheels), "--only-binary=:all:"]
    return [*command, f"--python-version={version.strip()}", *tags, *project["dependencies"], *extras]
