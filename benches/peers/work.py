"""The work that every peer is measured on, the same for all: seeded weights and input, and the exact result.

A convolution of kernel 3x3, stride 1, padding 1, with bias; `conv16x32` has 16 -> 16 channels on 32x32 pixels,
`conv64x8` has 64 -> 64 on 8x8. `measure` times a step in CPU seconds of the whole process: on a busy machine they
vary less than wall time. `report` prints one line of JSON.
"""

import json
import resource
import sys
import time

import numpy as np

WORKS = {"conv16x32": (16, 32), "conv64x8": (64, 8)}


def convolution(name):
    """(x [C, H, W], w [C, C, 3, 3], b [C], y [C, H, W]) of one work, float64."""
    channels, size = WORKS[name]
    draw = np.random.default_rng([channels, size])
    x = draw.uniform(-1, 1, (channels, size, size))
    w = draw.standard_normal((channels, channels, 3, 3)) * np.sqrt(2 / (9 * channels))
    b = 0.1 * draw.standard_normal(channels)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    y = np.einsum("oikl,ihwkl->ohw", w, windows) + b[:, None, None]
    return x, w, b, y


def measure(step, runs=1):
    """The last result of `step` and the CPU and wall seconds of the fastest run."""
    best, result = None, None
    for _ in range(runs):
        cpu, wall = time.process_time(), time.perf_counter()
        result = step()
        took = (time.process_time() - cpu, time.perf_counter() - wall)
        best = min(best, took) if best else took
    return result, {"cpu_s": round(best[0], 4), "wall_s": round(best[1], 4)}


def report(peer, version, work, found, expected, **figures):
    """Prints the figures, with the error of the result in bits and the peak memory."""
    error = np.abs(np.asarray(found, dtype=np.float64).reshape(-1) - expected.reshape(-1))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    line = {"peer": peer, "version": version, "work": work, **figures}
    line["bits_of_mean_error"] = round(float(-np.log2(error.mean())), 1) if error.any() else "exact"
    line["peak_memory_mb"] = round(peak / 1024)
    print(json.dumps(line))


def arguments(runs=3):
    """The work and the number of runs from the command line."""
    if len(sys.argv) < 2 or sys.argv[1] not in WORKS:
        sys.exit(f"usage: {sys.argv[0]} {{{'|'.join(WORKS)}}} [RUNS]")
    return sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else runs
