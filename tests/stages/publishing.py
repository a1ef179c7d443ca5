"""The publish stage as a process, and beside it what the operators do with its stores: rights, plans, verification."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable
from typing import Any

from c2d.contract import PLAN_LINE, PublishAnswer
from c2d.jobs.status import Stage
from c2d.pods.stage_input import publish_input
from c2d.results.destinations import destinations
from c2d.results.stores import JobResultStores, Published
from c2d.settings.installation import Settings, read
from tests.stages.conftest import Outcome, Pod

LIMITS = {"files": 100_000, "totalBytes": 10**12, "fileBytes": 10**12, "depth": 16, "nameBytes": 255, "logBytes": 100_000}
BASE = {"OPERATOR_PRIVATE_KEY": "0x" + "11" * 32, "C2D_DATABASE_URL": "postgresql+psycopg2://nowhere/none"}


def settings_of(pod: Pod, **variables: str) -> Settings:
    return read({**BASE, "C2D_RESULTS_PATH": str(pod.results), **variables})


class Publishing:
    """One job's way to its stores."""

    def __init__(self, pod: Pod, job: str | None = None, **variables: str):
        self.pod = pod
        self.job = job or f"j{secrets.token_hex(6)}"
        self.settings = settings_of(pod, **variables)
        self.env = self.settings.environments[0]
        self.results = JobResultStores(destinations(self.env), self.env, self.settings, self.job)
        self.plans = 0

    def filter(self) -> None:
        stage = {"stage": "filter", "job": self.job, "limits": LIMITS}
        assert self.pod.finish(self.pod.start("filter", stage), timeout=300).answer["ok"] is True

    def stage_json(self, **limits: int) -> dict[str, Any]:
        stage = publish_input(self.job, self.env, {Stage.FILTER: True}, *self.results.upload_rights(3600)).to_json()
        return {**stage, "limits": {"logBytes": 100_000, "seconds": 600, "retrySeconds": 300, **limits}}

    def start(self, change: Callable[[dict[str, Any]], None] | None = None, **limits: int) -> Any:
        """The stage's process, whose plans `follow` answers as the operator does."""
        stage = self.stage_json(**limits)
        if change:
            change(stage)
        return self.pod.start("publish", stage)

    def follow(self, process: Any, on_line: Callable[[str], None] = lambda line: None, timeout: float = 300) -> Outcome:
        """Answers plans until the process has ended."""
        lines: list[str] = []
        killer = threading.Timer(timeout, process.kill)
        killer.start()
        try:
            for line in process.stdout:
                lines.append(line)
                on_line(line)
                if line.startswith(PLAN_LINE):
                    self.plans += 1
                    self.results.answer_plans(3600)
            process.wait()
        finally:
            killer.cancel()
        text = self.pod.answer.read_text() if self.pod.answer.exists() else "{}"
        return Outcome(process.returncode, json.loads(text), "".join(lines))

    def publish(self, **limits: int) -> Outcome:
        return self.follow(self.start(None, **limits))

    def verified(self, outcome: Outcome) -> tuple[dict[str, Any], dict[str, Any]]:
        """The manifest and the stores of a run that went well, as the operator sees them and the job's row stores them."""
        published = self.published(outcome)
        return published.manifest.to_json(), published.stores

    def published(self, outcome: Outcome, opened: Callable[[bytes], bytes] = bytes) -> Published:
        assert outcome.answer.get("ok") is True, outcome
        return self.results.verify_published(PublishAnswer.from_json(outcome.answer), opened)
