"""How far exports agree with their versions: every form and format of the given versions, as a table.

    python bench/export.py orders@1 support-ja@1
    python bench/export.py orders@1 --to gguf --format q8_0 q4_0

Each is what `sodate export` does, into a folder that is deleted afterwards. Figures are those of `agreement`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import sodate
from sodate.core.text import size

FORMATS = {
    "adapter": ["f32"], "merged": ["f32", "bf16", "f16"], "gguf-lora": ["f32", "f16"],
    "gguf": ["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"], "ollama": ["q8_0"],
}  # fmt: skip


def row(version: str, to: str, format: str) -> str:
    """A row of the table; an export that is refused has its reason instead of figures."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        try:
            done = sodate.export(version, to=to, out=Path(folder) / "out", format=format)  # type: ignore[arg-type]
        except sodate.SodateError as error:
            return f"| {version} | {to} | {format} | – | – | – | – | {error.message} |"
        seconds = time.perf_counter() - began
        held = size(sum(Path(file).stat().st_size for file in done["files"]))
    one = done["agreement"]
    kl = f"{one['kl_mean']:.1e} | {one['kl_max']:.1e}"
    same = f"{round(one['greedy_equal'] * one['conversations'])} of {one['conversations']}"
    return f"| {version} | {to} | {format} | {held} | {same} | {kl} | {seconds:.0f} s |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("versions", nargs="+")
    parser.add_argument("--to", nargs="+", default=list(FORMATS), choices=list(FORMATS))
    parser.add_argument("--format", nargs="+")
    given = parser.parse_args()
    print("| version | to | format | size | greedy replies equal | KL mean | KL largest | took |")
    print("|---|---|---|---:|---:|---:|---:|---:|", flush=True)
    for version in given.versions:
        for to in given.to:
            for format in given.format or FORMATS[to]:
                print(row(version, to, format), flush=True)


if __name__ == "__main__":
    main()
