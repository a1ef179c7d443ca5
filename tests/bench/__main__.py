"""`make bench`: how long a job takes compared with the same pods without Airflow, and how fast configure, publish and getResult move bytes.

It prints ratios of interleaved runs, with their spread, because absolute numbers mean little on a busy machine. The benchmark of a job
uses the running stack (C2D_HOME) or starts one: on this machine, or on a cluster with C2D_CLUSTER=kubernetes and KUBECONFIG.

    python -m tests.bench [job|bytes|stores|results] [--rounds N]
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2] / "plugins")]


def spread(values: list[float], unit: str = "") -> str:
    """``median (smallest-largest)`` of some measurements."""
    return f"{statistics.median(values):.2f}{unit} ({min(values):.2f}-{max(values):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["job", "bytes", "stores", "results"], help="default: all")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.what in (None, "job"):
        from local import stack
        from local.home import home
        from tests.bench.job import measure

        with stack.running(home()) as env:
            measure(env, arguments.rounds, spread)
    if arguments.what in (None, "bytes"):
        from tests.bench.bytes import measure as measure_bytes

        measure_bytes(arguments.rounds, spread)
    if arguments.what in (None, "stores"):
        from tests.bench.stores import measure as measure_stores

        measure_stores(arguments.rounds, spread)
    if arguments.what in (None, "results"):
        from tests.bench.results import measure as measure_results

        measure_results(arguments.rounds, spread)


if __name__ == "__main__":
    main()
