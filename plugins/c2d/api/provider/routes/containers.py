"""Containers of algorithms, checked before they are published."""

from __future__ import annotations

import re
from typing import Any

from fastapi import APIRouter, Request

from c2d.api.common.request_data import data_of
from c2d.api.common.route_policy import requires
from c2d.api.provider.auth import Public
from c2d.api.provider.service import service_of
from c2d.errors import FetchError, RequestDenied
from c2d.hooks import registry
from c2d.jobs.patterns import DIGEST, IMAGE
from c2d.market import asset_rules

router = APIRouter(tags=["compute"])


@router.post("/validateContainer", summary="Whether a container is complete and its registry has the image")
@requires(Public({}))
def validate(request: Request) -> dict[str, Any]:
    """Arguments: `entrypoint`, `image`, `checksum` (the image's digest). Answers with them and `valid`, or with an error."""
    service, container = service_of(request), data_of(request)
    if code := asset_rules.why_bad_container(container):
        raise RequestDenied(code)
    image, digest = str(container["image"]), str(container["checksum"]).lower()
    if not re.match(IMAGE, image) or not re.match(DIGEST, digest):
        raise RequestDenied("invalid")
    with service.fetch_slot() as files:
        try:
            exists = registry.has_image(files.fetcher, image, digest)
        except FetchError:
            exists = False
    if not exists:
        raise RequestDenied("invalid")
    return {**container, "valid": True}
