from __future__ import annotations

from fastapi import Depends, FastAPI, Request
from fastapi.testclient import TestClient

from c2d.api.common import errors
from c2d.api.common.route_policy import RoutePolicy, admit, requires
from c2d.errors import ApiError


class OnlyToken(RoutePolicy):
    async def admit(self, request: Request) -> None:
        if request.headers.get("token") != "right":
            raise ApiError(401, "wrong token")


def app() -> TestClient:
    web = FastAPI(dependencies=[Depends(admit)])
    errors.register(web)

    @web.get("/guarded")
    @requires(OnlyToken())
    def guarded() -> str:
        return "hello"

    @web.get("/forgotten")
    def forgotten() -> str:
        return "hello"

    return TestClient(web)


def test_a_route_admits_whom_its_policy_admits() -> None:
    client = app()
    assert client.get("/guarded", headers={"token": "right"}).json() == "hello"
    refused = client.get("/guarded")
    assert (refused.status_code, refused.json()) == (401, {"error": "wrong token"})


def test_nobody_may_use_a_route_without_a_policy() -> None:
    refused = app().get("/forgotten")
    assert (refused.status_code, refused.json()) == (403, {"error": "nobody may use this route"})
