"""Microseconds of a product of few rows with a weight of 4 or 8 bits (576 × 3,072), on one thread.

OMP_NUM_THREADS=1 python bench/few.py
"""

from __future__ import annotations

import statistics
import time

import numpy as np

from sodate.kernels import compiled

ROUNDS, INPUTS, OUTPUTS = 200, 576, 3072


def main() -> None:
    assert compiled is not None, "the compiled part was not built"
    for bits, rows, size in ((4, OUTPUTS // 16, 320), (8, OUTPUTS, 34)):
        weight = np.ones((rows, INPUTS // 32 * size), dtype=np.uint8)
        for count in (1, 4, 8, 16):
            x, out = np.ones((INPUTS, 16), dtype=np.float32), np.empty((OUTPUTS, 16), dtype=np.float32)
            seconds = []
            for _ in range(ROUNDS):
                began = time.perf_counter()
                compiled.few(x, weight, out, count)
                seconds.append(time.perf_counter() - began)
            print(f"{bits} bits, {count} rows: {1e6 * statistics.median(seconds):.0f} µs")


if __name__ == "__main__":
    main()
