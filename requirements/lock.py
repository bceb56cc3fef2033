"""Writes lock.txt and cuda.txt here: every package that `make setup` installs, with its version and the SHA-256 of each
of its files, for every system and every Python that sodate runs on. Versions are those of constraints.txt.

    make lock

cuda.txt has what torch's builds for CUDA bring, and no others: it is installed where torch asks for it. builds.txt has
hashes that the package index does not list, of builds that lie elsewhere under the same version: put in by hand.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
PYTHON = "3.11"  # the oldest
_ENTRY = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)[^\n]*(?:\n    --hash=[^\n]+)+$", re.MULTILINE)
_CUDA = re.compile(r"(?:nvidia|cuda)-|triton$")


def resolved() -> str:
    """What uv makes of pyproject.toml and its build's own requirements."""
    build = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["build-system"]["requires"]
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--python-version", PYTHON,
               "--generate-hashes", "--no-header", "--no-annotate", "--extra", "dev", "--constraint", "constraints.txt",
               "pyproject.toml", "-"]  # fmt: skip
    found = subprocess.run(command, cwd=ROOT, input="\n".join(build), capture_output=True, text=True, check=False)
    if found.returncode:
        sys.exit(found.stderr)
    return found.stdout


def other_builds() -> dict[str, list[str]]:
    """name==version → hashes, from builds.txt."""
    lines = [line.split("#")[0].split() for line in (HERE / "builds.txt").read_text("utf-8").splitlines()]
    return {words[0]: words[1:] for words in lines if words}


def main() -> None:
    builds = other_builds()
    files: dict[str, list[str]] = {"lock.txt": [], "cuda.txt": []}
    for entry in _ENTRY.finditer(resolved()):
        extra = [f"--hash={one}" for one in builds.get(f"{entry[1]}=={entry[2]}", []) if one not in entry[0]]
        files["cuda.txt" if _CUDA.match(entry[1]) else "lock.txt"].append(" \\\n    ".join([entry[0], *extra]))
    for name, entries in files.items():
        text = "\n".join(["# Written by requirements/lock.py (make lock).", *entries]) + "\n"
        (HERE / name).write_text(text, "utf-8")
        print(f"requirements/{name}: {len(entries)} packages")


if __name__ == "__main__":
    main()
