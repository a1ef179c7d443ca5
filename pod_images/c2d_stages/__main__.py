"""`python3 -m c2d_stages STAGE`: run one stage of a job and write its answer. The exit code is 0 if the stage succeeded, else 1."""

import os
import sys
from importlib import import_module

STAGES = ("configure", "filter", "publish")
ISOLATED = "isolated"  # not a stage: the gate before a container that must have no network


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0] not in (*STAGES, ISOLATED):
        print(f"usage: python3 -m c2d_stages {'|'.join((*STAGES, ISOLATED))}", file=sys.stderr)
        return 2
    name = arguments[0]
    # Import only what runs: modules that are not needed would take most of a pod's start-up.
    if name == ISOLATED:
        return int(import_module("c2d_stages.isolated").main())
    from c2d_stages.common.stage import Paths, run

    stage = import_module(f"c2d_stages.{name}.stage")
    return run(name, stage.work, Paths.from_environment(os.environ), getattr(stage, "begin", None))


code = main(sys.argv[1:])
sys.stdout.flush()
sys.stderr.flush()
# Not sys.exit, which would wait for a download thread that waits for a silent server.
os._exit(code)
