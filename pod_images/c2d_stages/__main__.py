"""`python3 -m c2d_stages STAGE`: run one stage of a job, answer, and end with 0 when the answer is ok, else 1."""

import os
import sys
from importlib import import_module

from c2d_stages.stage import Paths, run

STAGES = ("configure", "filter", "publish")
ISOLATED = "isolated"  # no stage: what waits before the consumer's container


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0] not in (*STAGES, ISOLATED):
        print(f"usage: python3 -m c2d_stages {'|'.join((*STAGES, ISOLATED))}", file=sys.stderr)
        return 2
    name = arguments[0]
    if name == ISOLATED:
        return int(import_module(f"c2d_stages.{name}").main())
    # Only the stage that runs is imported: http.client alone is half of a pod's start-up.
    stage = import_module(f"c2d_stages.{name}")
    return run(name, stage.work, Paths.from_environment(os.environ), getattr(stage, "begin", None))


code = main(sys.argv[1:])
sys.stdout.flush()
sys.stderr.flush()
# Not sys.exit: a download thread that waits for a silent server must not hold the pod back.
os._exit(code)
