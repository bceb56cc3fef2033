"""Microseconds of a product of few rows with a weight as it is kept: a layer's, and a head's, too large for a cache.

python bench/few.py                        (OMP_NUM_THREADS=1 for one thread)
"""

from __future__ import annotations

import statistics
import time

import numpy as np

from sodate.kernels import compiled

ROUNDS, INPUTS, OUTPUTS = 50, 576, (3072, 49152)
ONE = 0x3F80  # as bfloat16
KEPT = {"4 bits": (1 / 16, 320 / 32, np.uint8), "8 bits": (1 / 16, 544 / 32, np.uint8), "bfloat16": (1, 1, np.uint16),
        "float32": (1, 1, np.float32)}  # fmt: skip


def main() -> None:
    assert compiled is not None, "the compiled part was not built"
    for outputs in OUTPUTS:
        for name, (rows, columns, kind) in KEPT.items():
            weight = np.full((int(outputs * rows), int(INPUTS * columns)), ONE if kind is np.uint16 else 1, dtype=kind)
            for count in (1, 4) if name == "bfloat16" else (1, 4, 8, 16):
                x, out = np.ones((count, INPUTS), dtype=np.float32), np.empty((count, outputs), dtype=np.float32)
                seconds = []
                for _ in range(ROUNDS):
                    began = time.perf_counter()
                    compiled.few_behind(x, weight, out)
                    seconds.append(time.perf_counter() - began)
                print(f"{INPUTS} × {outputs}, {name}, {count} rows: {1e6 * statistics.median(seconds):.0f} µs")


if __name__ == "__main__":
    main()
