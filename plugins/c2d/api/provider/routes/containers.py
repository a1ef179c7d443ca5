"""Images of algorithms, looked at before they are published."""

from __future__ import annotations

import re
from typing import Any

from fastapi import APIRouter, Request

from c2d.api.provider.auth import data_of, requires
from c2d.api.provider.service import service_of
from c2d.errors import FetchError, RequestDenied
from c2d.hooks import registry
from c2d.jobs.patterns import DIGEST, IMAGE
from c2d.market import asset_rules

router = APIRouter(tags=["compute"])


@router.post("/validateContainer", summary="Whether a container (entrypoint, image, checksum) is whole and its registry has the image")
@requires({})
def validate(request: Request) -> dict[str, Any]:
    service, container = service_of(request), data_of(request)
    if key := asset_rules.why_bad_container(container):
        raise RequestDenied(key)
    image, digest = str(container["image"]), str(container["checksum"]).lower()
    if not re.match(IMAGE, image) or not re.match(DIGEST, digest):
        raise RequestDenied("invalid")
    with service.fetching() as files:
        try:
            if not registry.has_image(files.fetcher, image, digest):
                raise RequestDenied("invalid")
        except FetchError:
            raise RequestDenied("invalid") from None
    return {**container, "valid": True}
