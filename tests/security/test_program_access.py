"""Who gets in, through the whole program: TLS on every listener, tokens, passwords, certificates, roles, browsers."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from base64 import b64encode
from pathlib import Path

import grpc
import psutil
import pytest

from gateway.access.tokens import hash_password
from gateway.addresses import parse_address
from tests.e2e.otlp import gauge_request
from tests.e2e.pair import Pair
from tests.e2e.program import Gateway
from tests.peers import free_port
from tests.security.certificates import Authority

pytestmark = pytest.mark.real

EXPORT = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
TOKENS = {role: f"{role}-token-3f8a61c09b2d47e5" for role in ("ingest", "read", "operate")}
PASSWORD = "correct-horse-battery-9917"
OUTGOING = "outgoing-secret-5521aa"


class SecureGateway(Gateway):
    """With TLS; `client` is the context of requests."""

    client: ssl.SSLContext

    def is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.output.read_text()
        try:
            return self.ask(self.http, "/-/ready")[0] == 200 and self.ask(self.otlp_http, "/-/ready")[0] == 200
        except OSError:
            return False

    def ask(
        self, address: str, path: str, body: bytes | None = None, method: str | None = None, **headers: str
    ) -> tuple[int, str]:
        request = urllib.request.Request(f"https://{address}{path}", data=body, method=method)
        for name, value in headers.items():
            request.add_header(name.replace("_", "-"), value)
        try:
            with urllib.request.urlopen(request, timeout=10, context=self.client) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def export(self, **headers: str) -> int:
        body = gauge_request("s", "m", [(time.time_ns(), 1.0, {})])
        return self.ask(self.otlp_http, "/v1/metrics", body, Content_Type="application/x-protobuf", **headers)[0]

    def subject(self, address: str) -> str:
        """Common name that the listener shows."""
        host, port = parse_address(address)
        with (
            socket.create_connection((host, port), 5) as raw,
            self.client.wrap_socket(raw, server_hostname="127.0.0.1") as secured,
        ):
            found = secured.getpeercert()
            assert found is not None
            return dict(pair for part in found["subject"] for pair in part)["commonName"]


def bearer(role: str) -> str:
    return f"Bearer {TOKENS[role]}"


def basic(name: str, password: str) -> str:
    return "Basic " + b64encode(f"{name}:{password}".encode()).decode()


def export_grpc(address: str, credentials: grpc.ChannelCredentials, authorization: str | None) -> grpc.StatusCode:
    body = gauge_request("s", "m", [(time.time_ns(), 1.0, {})])
    metadata = (("authorization", authorization),) if authorization else ()
    with grpc.secure_channel(address, credentials) as channel:
        try:
            channel.unary_unary(EXPORT)(body, metadata=metadata, timeout=10, wait_for_ready=True)
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


def test_tls_tokens_passwords_and_roles(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("gateway one", "server")
    tokens = ", ".join(
        f'{{ name = "{role}", sha256 = "{hashlib.sha256(token.encode()).hexdigest()}", roles = ["{role}"] }}'
        for role, token in TOKENS.items()
    )
    user = f'{{ name = "agent", scrypt = "{hash_password(PASSWORD, n=1024)}", roles = ["ingest"] }}'
    gateway = SecureGateway(
        tmp_path,
        f"access.tokens=[{tokens}]",
        f"access.users=[{user}]",
        f"access.tls_certificate={certificate}",
        f"access.tls_key={key}",
        f"victoriametrics.url=http://127.0.0.1:{free_port()}",
        'victoriametrics.bearer_token={ env = "OUTGOING_SECRET" }',
        environment={"OUTGOING_SECRET": OUTGOING, "GATEWAY_LOG_FORMAT": "json"},
    )
    gateway.client = ssl.create_default_context(cafile=str(authority.path))
    with gateway:
        assert gateway.export() == 401
        assert gateway.export(Authorization="Bearer wrong-token") == 401
        assert gateway.export(Authorization=bearer("read")) == 403
        assert gateway.export(Authorization=basic("agent", "wrong-password-1")) == 401
        assert gateway.export(Authorization=bearer("ingest")) == 200
        assert gateway.export(Authorization=basic("agent", PASSWORD)) == 200

        trusted = grpc.ssl_channel_credentials(authority.path.read_bytes())
        assert export_grpc(gateway.otlp_grpc, trusted, None) is grpc.StatusCode.UNAUTHENTICATED
        assert export_grpc(gateway.otlp_grpc, trusted, bearer("read")) is grpc.StatusCode.PERMISSION_DENIED
        assert export_grpc(gateway.otlp_grpc, trusted, bearer("ingest")) is grpc.StatusCode.OK
        assert export_grpc(gateway.otlp_grpc, trusted, basic("agent", PASSWORD)) is grpc.StatusCode.OK

        for path in ("/api/v1/status", "/metrics", "/", "/api/v2/alerts", "/api/v1/configuration"):
            assert gateway.ask(gateway.http, path)[0] == 401, path
            assert gateway.ask(gateway.http, path, Authorization=bearer("ingest"))[0] == 403, path
            assert gateway.ask(gateway.http, path, Authorization=bearer("read"))[0] == 200, path
        reload = {"body": b"", "method": "POST"}
        assert gateway.ask(gateway.http, "/-/reload", **reload)[0] == 401
        assert gateway.ask(gateway.http, "/-/reload", **reload, Authorization=bearer("read"))[0] == 403
        assert gateway.ask(gateway.http, "/-/reload", **reload, Authorization=bearer("operate"))[0] == 200
        foreign = {"Authorization": bearer("operate"), "Origin": "https://elsewhere.example"}
        assert gateway.ask(gateway.http, "/-/reload", **reload, **foreign)[0] == 403

        status = json.loads(gateway.ask(gateway.http, "/api/v1/status", Authorization=bearer("read"))[1])
        assert status["accepted_points"] == 4, "nobody else got in"

        for address in (gateway.otlp_http, gateway.http):
            with pytest.raises((urllib.error.URLError, ConnectionError, OSError)):
                urllib.request.urlopen(f"http://{address}/-/healthy", timeout=5)

        authority.issue("gateway two", "server")
        for address in (gateway.otlp_http, gateway.http, gateway.otlp_grpc):
            gateway.until(lambda address=address: gateway.subject(address) == "gateway two")
        certificate.write_text("half a file")
        assert gateway.subject(gateway.http) == "gateway two"

        configuration = gateway.ask(gateway.http, "/api/v1/configuration", Authorization=bearer("read"))[1]
        seen = [configuration, gateway.output.read_text()]
        for child in gateway.children().values():
            seen += [" ".join(child.cmdline()), " ".join(child.parent().cmdline())]
        gateway.until(lambda: "VictoriaMetrics" in gateway.output.read_text() or True)
        digests = [hashlib.sha256(token.encode()).hexdigest() for token in TOKENS.values()]
        for secret in (*digests, "scrypt:"):
            assert secret not in configuration, "who may read may not try passwords at leisure"
        for secret in (*TOKENS.values(), PASSWORD, "wrong-password-1", "wrong-token", OUTGOING):
            assert not any(secret in text for text in seen), secret


def test_certificates_of_clients_are_identities(tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "a stranger")
    certificate, key = authority.issue("gateway", "server")
    agent, visitor = authority.issue("agent-7", "agent"), authority.issue("visitor", "visitor")
    forged = stranger.issue("agent-7", "forged")
    gateway = SecureGateway(
        tmp_path,
        'access.client_certificates=[{ common_name = "agent-7", roles = ["ingest", "read"] }]',
        f"access.tls_certificate={certificate}",
        f"access.tls_key={key}",
        f"access.tls_client_ca={authority.path}",
    )

    def context(pair: tuple[Path, Path] | None) -> ssl.SSLContext:
        made = ssl.create_default_context(cafile=str(authority.path))
        if pair is not None:
            made.load_cert_chain(*pair)
        return made

    gateway.client = context(agent)
    with gateway:
        assert gateway.export() == 200
        assert gateway.ask(gateway.http, "/api/v1/status")[0] == 200
        assert gateway.ask(gateway.http, "/-/reload", b"")[0] == 403
        gateway.client = context(visitor)
        assert gateway.export() == 401
        assert gateway.ask(gateway.http, "/api/v1/status")[0] == 401
        for pair in (None, forged):
            gateway.client = context(pair)
            for ask in (gateway.export, lambda: gateway.ask(gateway.http, "/-/healthy")):
                with pytest.raises(OSError):
                    ask()
        for pair, expected in ((agent, grpc.StatusCode.OK), (visitor, grpc.StatusCode.UNAUTHENTICATED)):
            credentials = grpc.ssl_channel_credentials(
                authority.path.read_bytes(), pair[1].read_bytes(), pair[0].read_bytes()
            )
            assert export_grpc(gateway.otlp_grpc, credentials, None) is expected
        gateway.client = context(agent)


@pytest.mark.parametrize("listener", ["otlp_grpc", "otlp_http", "http"])
def test_a_listener_that_others_reach_without_authentication_refuses_to_start(tmp_path: Path, listener: str) -> None:
    addresses = {name: f"127.0.0.1:{free_port()}" for name in ("otlp_grpc", "otlp_http", "http")}
    addresses[listener] = f"0.0.0.0:{free_port()}"
    command = [str(Path(sys.executable).parent / "gateway"), "serve", "--set", f"server.data_dir={tmp_path / 'data'}"]
    for name, address in addresses.items():
        command += ["--set", f"server.{name}={address}"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GATEWAY_")}
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert said.returncode == 78
    assert f"server.{listener}" in said.stderr
    assert "no authentication is configured" in said.stderr
    assert not [p for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(p.info["cmdline"] or ())]


def test_pages_of_others_cannot_use_a_browser_against_a_local_gateway(pair: Pair) -> None:
    gateway = pair.gateway

    def ask(path: str, method: str = "GET", **headers: str) -> int:
        request = urllib.request.Request(f"http://{gateway.http}{path}", method=method)
        for name, value in headers.items():
            request.add_header(name.replace("_", "-"), value)
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                assert response.headers["X-Content-Type-Options"] == "nosniff"
                assert "default-src 'none'" in response.headers["Content-Security-Policy"]
                assert "Access-Control-Allow-Origin" not in response.headers
                return response.status
        except urllib.error.HTTPError as error:
            return error.code

    port = gateway.http.rpartition(":")[2]
    assert ask("/api/v1/status") == 200
    assert ask("/api/v1/status", Host=f"localhost:{port}") == 200
    assert ask("/api/v1/status", Host=f"rebound.example:{port}") == 403
    assert ask("/", Host="rebound.example") == 403
    assert ask("/-/reload", "POST") == 200, "tools name no origin"
    assert ask("/-/reload", "POST", Origin=f"http://{gateway.http}") == 200
    for origin in ("http://elsewhere.example", "null", f"http://127.0.0.1:{int(port) + 1}", "http://[::"):
        assert ask("/-/reload", "POST", Origin=origin) == 403, origin
    assert ask("/-/reload", "POST", Sec_Fetch_Site="cross-site") == 403
