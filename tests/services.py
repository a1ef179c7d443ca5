"""Real stores on this machine: MinIO, kubo, and an IPFS cluster of two peers."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from local.ports import free_port
from tests.programs import program

START_TIMEOUT = 60  # seconds


def await_answer(answers: Callable[[], bool], service: Service) -> None:
    """Wait until ``answers()`` is true. Fails with the end of the service's log if that has ended or takes too long."""
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        with contextlib.suppress(httpx.HTTPError):
            if answers():
                return
        assert service.process is not None and service.process.poll() is None, service.log.read_text()[-2000:]
        assert time.monotonic() < deadline, f"no answer within {START_TIMEOUT} s: {service.log.read_text()[-2000:]}"
        time.sleep(0.05)


class Service:
    """A program with a folder and a log. ``start`` returns when it answers requests."""

    def __init__(self, folder: Path, command: list[str], environ: dict[str, str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.command = folder, command
        self.environ = {"PATH": os.environ["PATH"], "HOME": str(folder), **environ}
        self.log = folder / "log"
        self.process: subprocess.Popen[bytes] | None = None

    def answers(self) -> bool:
        raise NotImplementedError

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, env=self.environ, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        await_answer(self.answers, self)

    def kill(self) -> None:
        """End it as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def pause(self) -> None:
        """From now on it accepts connections but does not answer."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()
            self.process = None

    def run(self, *command: str, **options: Any) -> str:
        done = subprocess.run(command, env=self.environ, capture_output=True, text=True, timeout=120, **options)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout


class Minio(Service):
    """An S3 store, with encryption at rest.

    :param size: the size of its disk, such as ``64m``; without it, it uses the machine's disk.
    """

    region = "us-east-1"
    kms_key = "c2d-key"

    def __init__(self, folder: Path, address: str = "127.0.0.1", size: str | None = None) -> None:
        self.access_key, self.secret_key = "operator", "SECRET" + secrets.token_hex(12)
        self.port = free_port(address)
        self.endpoint = f"http://{address}:{self.port}"
        key = "Y2QyZC1rZXktZm9yLXRlc3RzLW9ubHktMzItYnl0ZXM="
        data = folder / "data"
        data.mkdir(parents=True)
        console = f"127.0.0.1:{free_port()}"
        serve = [program("minio"), "server", "--quiet", "--address", f"{address}:{self.port}", "--console-address", console, str(data)]
        if size:  # a file system that disappears with the process
            mount = f'mount -t tmpfs -o size={size} none {data} && exec "$@"'
            serve = ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, "sh", *serve]
        super().__init__(
            folder,
            serve,
            {
                "MINIO_ROOT_USER": self.access_key,
                "MINIO_ROOT_PASSWORD": self.secret_key,
                "MINIO_BROWSER": "off",
                "MINIO_KMS_SECRET_KEY": f"{self.kms_key}:{key}",
                "MINIO_API_REQUESTS_MAX": "1000",
                "MINIO_CI_CD": "1",  # allows a folder on the root disk
            },
        )

    def answers(self) -> bool:
        return httpx.get(f"{self.endpoint}/minio/health/cluster").status_code == 200

    def client(self) -> Any:
        """boto3's S3 client with the root keys."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name=self.region,
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
        )

    def bucket(self, name: str | None = None) -> str:
        """Create a bucket. Returns its name."""
        name = name or f"b{secrets.token_hex(6)}"
        self.client().create_bucket(Bucket=name)
        return name

    def settings(self, **more: str) -> dict[str, str]:
        """The settings of a deployment that uses it."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": self.region,
            "AWS_ENDPOINT_URL": self.endpoint,
            **more,
        }


class Kubo(Service):
    """An IPFS node whose API needs authorization: the operator's token allows everything, the pod's token only adding files.

    :param open: without authorization, which is kubo's default.
    :param swarm_key: the key of its private network.
    """

    def __init__(self, folder: Path, address: str = "127.0.0.1", open: bool = False, swarm_key: str | None = None) -> None:
        self.port, self.gateway_port, self.swarm_port = free_port(address), free_port(address), free_port()
        self.url, self.gateway = f"http://{address}:{self.port}", f"http://{address}:{self.gateway_port}"
        self.open = open
        self.operator_token, self.pod_token = "OPERATOR" + secrets.token_hex(12), "POD" + secrets.token_hex(12)
        self.ipfs = program("kubo")
        super().__init__(folder, [self.ipfs, "daemon"], {"IPFS_PATH": str(folder / "repo"), "IPFS_TELEMETRY": "off"})
        self.run(self.ipfs, "init", "--empty-repo")
        file = folder / "repo" / "config"
        config = json.loads(file.read_text())
        config["Addresses"] |= {
            "API": f"/ip4/{address}/tcp/{self.port}",
            "Gateway": f"/ip4/{address}/tcp/{self.gateway_port}",
            "Swarm": [f"/ip4/127.0.0.1/tcp/{self.swarm_port}"],
        }
        # Nothing may leave this machine: no bootstrap nodes, no routing, no discovery, nothing fetched at start.
        config |= {"Bootstrap": [], "AutoConf": {"Enabled": False}, "AutoTLS": {"Enabled": False}, "DNS": {"Resolvers": {}}}
        config["Routing"] = {"Type": "none", "DelegatedRouters": []}
        config["Ipns"] = {**config.get("Ipns", {}), "DelegatedPublishers": []}
        config["Discovery"] = {"MDNS": {"Enabled": False}}
        config["Swarm"] = {
            **config.get("Swarm", {}),
            "DisableNatPortMap": True,
            "Transports": {"Network": {"QUIC": False, "WebRTCDirect": False}},
        }
        config["Provide"] = {"Enabled": False}
        config["Gateway"] = {**config.get("Gateway", {}), "NoFetch": True}
        if not open:
            config["API"]["Authorizations"] = {
                "operator": {"AuthSecret": f"bearer:{self.operator_token}", "AllowedPaths": ["/api/v0"]},
                "pod": {"AuthSecret": f"bearer:{self.pod_token}", "AllowedPaths": ["/api/v0/add"]},
            }
        file.write_text(json.dumps(config))
        self.peer_id = config["Identity"]["PeerID"]
        if swarm_key:
            (folder / "repo" / "swarm.key").write_text(swarm_key)
            self.environ["LIBP2P_FORCE_PNET"] = "1"

    @property
    def multiaddress(self) -> str:
        return f"/ip4/127.0.0.1/tcp/{self.swarm_port}/p2p/{self.peer_id}"

    def answers(self) -> bool:
        return self.api("version").status_code == 200

    def api(self, command: str, token: str | None = None, **parameters: Any) -> httpx.Response:
        """Call a command of the RPC API, with the operator's token or another one."""
        headers = {} if self.open else {"Authorization": f"Bearer {token or self.operator_token}"}
        return httpx.post(f"{self.url}/api/v0/{command}", params=parameters, headers=headers, timeout=60)

    def cat(self, path: str) -> bytes:
        answer = self.api("cat", arg=path, offline="true")
        assert answer.status_code == 200, answer.text
        return answer.content

    def pins(self) -> dict[str, str]:
        """The name of each recursive pin, by CID."""
        listed = json.loads(self.api("pin/ls", type="recursive", names="true").text).get("Keys") or {}
        return {cid: pin.get("Name", "") for cid, pin in listed.items()}

    def settings(self, **more: str) -> dict[str, str]:
        """The settings of a deployment that uses it."""
        rights = {} if self.open else {"C2D_IPFS_AUTH": f"bearer:{self.operator_token}", "C2D_IPFS_ADD_AUTH": f"bearer:{self.pod_token}"}
        return {"IPFS_TYPE": "CLIENT", "IPFS_OUTPUT": self.url, "IPFS_OUTPUT_PREFIX": f"{self.gateway}/ipfs/", **rights, **more}


class ClusterPeer(Service):
    """A peer of an IPFS cluster, with its own kubo. Its REST API needs the user ``operator`` and a password."""

    def __init__(self, folder: Path, kubo: Kubo, secret: str, bootstrap: str | None = None) -> None:
        self.kubo = kubo
        self.port, self.swarm_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.user, self.password = "operator", "CLUSTER" + secrets.token_hex(12)
        binary = program("ipfs-cluster")
        daemon = [binary, "daemon", *(["--bootstrap", bootstrap] if bootstrap else [])]
        super().__init__(folder, daemon, {"IPFS_CLUSTER_PATH": str(folder / "peer"), "CLUSTER_SECRET": secret})
        self.run(binary, "init", "--consensus", "crdt")
        file = folder / "peer" / "service.json"
        config = json.loads(file.read_text())
        config["cluster"] |= {
            "peername": folder.name,
            "listen_multiaddress": [f"/ip4/127.0.0.1/tcp/{self.swarm_port}"],
            "mdns_interval": "0s",
            "monitor_ping_interval": "1s",
            "peer_watch_interval": "1s",
        }
        config["consensus"]["crdt"] |= {"trusted_peers": ["*"], "rebroadcast_interval": "2s"}
        config["api"]["restapi"] |= {
            "http_listen_multiaddress": f"/ip4/127.0.0.1/tcp/{self.port}",
            "basic_auth_credentials": {self.user: self.password},
        }
        config["api"].pop("ipfsproxy", None)
        config["api"].pop("pinsvcapi", None)
        config["ipfs_connector"]["ipfshttp"] |= {"node_multiaddress": f"/ip4/127.0.0.1/tcp/{kubo.port}"}
        for metric in config.get("informer", {}).values():
            metric["metric_ttl"] = "5s"
        file.write_text(json.dumps(config))
        self.peer_id = json.loads((folder / "peer" / "identity.json").read_text())["id"]

    @property
    def multiaddress(self) -> str:
        return f"/ip4/127.0.0.1/tcp/{self.swarm_port}/p2p/{self.peer_id}"

    def answers(self) -> bool:
        return self.api("GET", "id").status_code == 200

    def api(self, method: str, path: str, **parameters: Any) -> httpx.Response:
        return httpx.request(method, f"{self.url}/{path}", params=parameters, auth=(self.user, self.password), timeout=60)

    def pinned_on(self, cid: str) -> int:
        """How many peers have pinned a CID."""
        answer = self.api("GET", f"pins/{cid}")
        return sum(peer["status"] == "pinned" for peer in answer.json().get("peer_map", {}).values())


class Cluster:
    """Two peers, each with its kubo, in a private network on this machine, and a third kubo for pods."""

    def __init__(self, folder: Path, address: str = "127.0.0.1") -> None:
        key = f"/key/swarm/psk/1.0.0/\n/base16/\n{secrets.token_hex(32)}\n"
        secret = secrets.token_hex(32)
        # Cluster peers do not support bearer tokens, so their kubos have no authorization. Pods add to a third one, which has it.
        self.kubos = [Kubo(folder / f"kubo{n}", address if n == 2 else "127.0.0.1", open=n < 2, swarm_key=key) for n in range(3)]
        first = ClusterPeer(folder / "peer0", self.kubos[0], secret)
        self.peers = [first, ClusterPeer(folder / "peer1", self.kubos[1], secret, first.multiaddress)]

    @property
    def adds(self) -> Kubo:
        """The node to which pods add: in the same private network, with authorization."""
        return self.kubos[2]

    def start(self) -> None:
        for kubo in self.kubos:
            kubo.start()
        for kubo in self.kubos[:2]:
            answer = kubo.api("swarm/peering/add", arg=self.adds.multiaddress)
            assert answer.status_code == 200, answer.text
            kubo.api("swarm/connect", arg=self.adds.multiaddress)
        for peer in self.peers:
            peer.start()
        # Until each peer knows how much space the other one has, it allocates a pin to one peer only.
        await_answer(lambda: all(len(peer.api("GET", "monitor/metrics/freespace").json()) == 2 for peer in self.peers), self.peers[0])

    def stop(self) -> None:
        for service in (*reversed(self.peers), *self.kubos):
            service.stop()

    def settings(self, **more: str) -> dict[str, str]:
        """The settings of a deployment that uses it."""
        return {
            "IPFS_TYPE": "CLUSTER",
            "IPFS_OUTPUT": self.peers[0].url,
            "C2D_IPFS_AUTH": f"basic:{self.peers[0].user}:{self.peers[0].password}",
            "C2D_IPFS_ADD_URL": self.adds.url,
            "C2D_IPFS_ADD_AUTH": f"bearer:{self.adds.pod_token}",
            "C2D_IPFS_READ_AUTH": f"bearer:{self.adds.operator_token}",
            **more,
        }
