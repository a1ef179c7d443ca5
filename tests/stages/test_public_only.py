"""The configure stage with `publicOnly`: servers on private addresses are never contacted."""

import socket
from pathlib import Path
from typing import Any

import pytest

from c2d.contract import ConfigureLimits
from c2d.shared import addresses
from c2d_stages.common.log import StageLog
from c2d_stages.common.transfer import PermanentError
from c2d_stages.configure.requests import connect_public, read_small
from c2d_stages.configure.session import Session
from c2d_stages.configure.sources import Request
from tests.stages.configuring import body, stage_json
from tests.stages.conftest import Pod, WebServer, status


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f000001", "127.1", "[::ffff:127.0.0.1]", "169.254.169.254"])
def test_with_public_only_no_spelling_of_a_private_address_is_contacted(pod: Pod, web: WebServer, host: str) -> None:
    port = web.serve("/a", body(b"content")).rsplit(":", 1)[1]
    outcome = pod.run("configure", stage_json(f"http://{host}:{port}", publicOnly=True))
    assert outcome.answer["status"] == 31 and web.seen("/a") == []
    assert outcome.answer["message"].split(": ", 1)[1] in ("the server is not on a public address", "the host name was not found")


def test_with_public_only_a_redirect_to_a_private_address_is_refused(
    web: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """127.0.0.1 counts as public here, so that there is a server to redirect."""
    monkeypatch.setattr(addresses, "is_public", lambda address: address == "127.0.0.1")
    inside = web.serve("/inside", body(b"SECRET"))
    away = web.serve("/away", status(302, Location=inside.replace("127.0.0.1", "127.0.0.2")))
    session = Session(ConfigureLimits(totalBytes=100, seconds=20, publicOnly=True), StageLog(str(tmp_path / "log")))
    with pytest.raises(PermanentError, match="the server is not on a public address"):
        read_small(Request(away), {}, 100, session)
    assert web.seen("/inside") == [] and len(web.seen("/away")) == 1
    assert read_small(Request(inside), {}, 100, session) == b"SECRET"


def test_with_public_only_a_name_is_resolved_once_and_all_its_addresses_must_be_public(
    web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses, "is_public", lambda address: address == "127.0.0.1")
    url = web.serve("/a", body(b"content"))
    port = int(url.rsplit(":", 1)[1].split("/")[0])
    answers = [["127.0.0.1"], ["127.0.0.1", "10.0.0.1"]]
    real = socket.getaddrinfo

    def resolve(host: Any, *more: Any, **named: Any) -> Any:
        if host != "two.example":
            return real(host, *more, **named)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in answers.pop(0)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    connect_public("two.example", port, 5).close()
    assert len(answers) == 1
    with pytest.raises(PermanentError, match="the server is not on a public address"):
        connect_public("two.example", port, 5)
