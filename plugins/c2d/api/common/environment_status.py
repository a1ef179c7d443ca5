"""A compute environment in Ocean's JSON: its limits, its price and how busy it is."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

from pydantic import BaseModel, Field

from c2d.settings.environment import Environment
from c2d.settings.installation import Settings


class ComputeEnvironment(BaseModel):
    id: str
    cpuNumber: float
    cpuType: str
    gpuNumber: int
    gpuType: str
    ramGB: float
    diskGB: float
    priceMin: float = Field(description="per minute, in whole fee tokens")
    desc: str
    currentJobs: int = Field(description="jobs at work; queued jobs do not count")
    maxJobs: int = Field(description="jobs that run at once")
    consumerAddress: str = Field(description="the address that orders must name as consumer")
    storageExpiry: int = Field(description="hours until results expire; 0: never")
    maxJobDuration: int = Field(description="seconds")
    lastSeen: str = Field(description="seconds since 1970, as text")


def environment_status(env: Environment, settings: Settings, current_jobs: int) -> dict[str, Any]:
    """An environment as :class:`ComputeEnvironment` describes it, with ``allowedChainId`` if it accepts jobs of certain chains only.

    :param current_jobs: how many jobs run in it.
    """
    status = {
        "id": env.id,
        "cpuNumber": _number(env.nCPU),
        "cpuType": env.cpuType,
        "gpuNumber": env.nGPU,
        "gpuType": env.gpuType,
        "ramGB": _number(env.ramGB),
        "diskGB": _number(env.diskGB),
        "priceMin": _number(env.priceMinute),
        "desc": env.description,
        "currentJobs": current_jobs,
        "maxJobs": env.at_once,
        "consumerAddress": settings.address,
        "storageExpiry": env.STORAGE_EXPIRY,
        "maxJobDuration": max_job_seconds(env, settings),
        "lastSeen": f"{time.time():.6f}",
    }
    return status | ({"allowedChainId": sorted(env.chains)} if env.chains else {})


def max_job_seconds(env: Environment, settings: Settings) -> int:
    """The longest time that an algorithm may run in the environment."""
    return min(env.maxJobDuration, settings.ALGO_POD_TIMEOUT or env.maxJobDuration)


def _number(value: Decimal) -> int | float:
    """A number as JSON should show it: 2, not 2.0 or "2"."""
    return int(value) if value == int(value) else float(value)
