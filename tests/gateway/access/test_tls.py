"""TLS and mTLS on both receivers, and renewal of certificates."""

from __future__ import annotations

import contextlib
import os
import shutil
import ssl
import subprocess
from pathlib import Path

import aiohttp
import grpc
import pytest

from gateway.access.settings import AccessSettings, ClientCertificate
from gateway.access.tls import Certificates
from gateway.errors import ConfigError
from tests.gateway.ingest.receivers import running

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
METRICS = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"


def _openssl(*arguments: str, directory: Path) -> None:
    subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)


def _authority(directory: Path) -> None:
    _openssl(
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-keyout",
        "ca.key",
        "-out",
        "ca.pem",
        "-days",
        "2",
        "-subj",
        "/CN=test authority",
        directory=directory,
    )


def _certificate(directory: Path, stem: str, name: str) -> None:
    (directory / "san").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    _openssl(
        "req",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-keyout",
        f"{stem}.key",
        "-out",
        f"{stem}.csr",
        "-subj",
        f"/CN={name}",
        directory=directory,
    )
    _openssl(
        "x509",
        "-req",
        "-in",
        f"{stem}.csr",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-out",
        f"{stem}.pem",
        "-days",
        "2",
        "-extfile",
        "san",
        directory=directory,
    )


@pytest.fixture(scope="module")
def pki(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("pki")
    _authority(directory)
    _certificate(directory, "server", "localhost")
    _certificate(directory, "agent", "agent-7")
    _certificate(directory, "stranger", "stranger")
    return directory


def _client(pki: Path, stem: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(pki / "ca.pem"))
    if stem:
        context.load_cert_chain(pki / f"{stem}.pem", pki / f"{stem}.key")
    return context


async def test_mutual_tls_names_the_sender(pki):
    access = AccessSettings(
        tls_certificate=str(pki / "server.pem"),
        tls_key=str(pki / "server.key"),
        tls_client_ca=str(pki / "ca.pem"),
        client_certificates=(ClientCertificate(common_name="agent-7"),),
    )
    headers = {"Content-Type": "application/x-protobuf"}
    async with running(access=access) as r, aiohttp.ClientSession() as session:
        url = f"https://127.0.0.1:{r.http.port}/v1/metrics"
        for stem, status in (("agent", 200), ("stranger", 401)):
            answer = await session.post(url, data=b"points=1", headers=headers, ssl=_client(pki, stem))
            assert answer.status == status
            credentials = grpc.ssl_channel_credentials(
                (pki / "ca.pem").read_bytes(), (pki / f"{stem}.key").read_bytes(), (pki / f"{stem}.pem").read_bytes()
            )
            async with grpc.aio.secure_channel(f"localhost:{r.grpc.port}", credentials) as channel:
                code = await channel.unary_unary(METRICS)(b"points=1", timeout=10).code()
            assert code is (grpc.StatusCode.OK if status == 200 else grpc.StatusCode.UNAUTHENTICATED)
        with pytest.raises(aiohttp.ClientError):
            await session.post(url, data=b"points=1", headers=headers, ssl=_client(pki, None))
        assert r.sink.points == 2


def test_renewed_files_are_taken_up_and_bad_ones_are_not(pki, tmp_path):
    for name in ("server.pem", "server.key"):
        shutil.copy(pki / name, tmp_path / name)
    settings = AccessSettings(tls_certificate=str(tmp_path / "server.pem"), tls_key=str(tmp_path / "server.key"))
    certificates = Certificates(settings)
    assert not certificates.reload_if_changed()
    for name in ("pem", "key"):
        shutil.copy(pki / f"agent.{name}", tmp_path / f"server.{name}")
        os.utime(tmp_path / f"server.{name}", (1, 1))
    assert certificates.reload_if_changed()
    (tmp_path / "server.pem").write_text("nonsense")
    with pytest.raises(ConfigError):
        certificates.reload_if_changed()


def _handshake(server: ssl.SSLContext, client: ssl.SSLContext, session: ssl.SSLSession | None = None) -> ssl.SSLObject:
    """The client's end once both are through. Raises SSLError."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    theirs = client.wrap_bio(down, up, server_hostname="localhost", session=session)
    ours = server.wrap_bio(up, down, server_side=True)
    waiting = [theirs, ours]
    while waiting:
        for end in list(waiting):
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
                waiting.remove(end)
    return theirs


def test_an_authority_that_is_taken_away_lets_nobody_in_any_more(pki, tmp_path):
    for name in ("ca.pem", "server.pem", "server.key"):
        shutil.copy(pki / name, tmp_path / name)
    settings = AccessSettings(
        tls_certificate=str(tmp_path / "server.pem"),
        tls_key=str(tmp_path / "server.key"),
        tls_client_ca=str(tmp_path / "ca.pem"),
    )
    certificates = Certificates(settings)
    server, agent = certificates.context, _client(pki, "agent")
    assert server is not None
    agent.maximum_version = ssl.TLSVersion.TLSv1_2  # where the server's refusal is part of the handshake
    session = _handshake(server, agent).session
    assert _handshake(server, agent, session).session_reused
    other = tmp_path / "other"
    other.mkdir()
    _authority(other)
    shutil.copy(other / "ca.pem", tmp_path / "ca.pem")
    assert certificates.reload_if_changed()
    for known in (None, session):
        with pytest.raises(ssl.SSLError):
            _handshake(server, agent, known)


def test_a_certificate_whose_key_is_not_there_yet_changes_nothing(pki, tmp_path):
    for name in ("server.pem", "server.key"):
        shutil.copy(pki / name, tmp_path / name)
    settings = AccessSettings(tls_certificate=str(tmp_path / "server.pem"), tls_key=str(tmp_path / "server.key"))
    certificates = Certificates(settings)
    shutil.copy(pki / "agent.pem", tmp_path / "server.pem")
    with pytest.raises(ConfigError, match="cannot be used"):
        certificates.reload_if_changed()
    assert certificates.context is not None
    _handshake(certificates.context, _client(pki, None))


@pytest.mark.parametrize("key", ["tls_certificate", "tls_key", "tls_client_ca"])
@pytest.mark.parametrize("what", ["fifo", "device", "large"])
def test_files_without_an_end_are_refused(pki, tmp_path, key, what):
    path = tmp_path / "file"
    if what == "fifo":
        os.mkfifo(path)
    elif what == "device":
        path.symlink_to("/dev/zero")
    else:
        with path.open("wb") as file:
            file.truncate(100 * 2**30)
    given = {"tls_certificate": pki / "server.pem", "tls_key": pki / "server.key", "tls_client_ca": pki / "ca.pem"}
    settings = AccessSettings(**{name: str(path if name == key else file) for name, file in given.items()})
    with pytest.raises(ConfigError, match=r"not a regular file|File too large"):
        Certificates(settings)
    certificates = Certificates(AccessSettings(**{name: str(file) for name, file in given.items()}))
    certificates._settings = settings
    with pytest.raises(ConfigError, match=r"not a regular file|File too large"):
        certificates.pem()


def test_halves_are_refused(pki):
    with pytest.raises(ConfigError):
        Certificates(AccessSettings(tls_certificate=str(pki / "server.pem")))
    with pytest.raises(ConfigError):
        Certificates(AccessSettings(tls_client_ca=str(pki / "ca.pem")))
    with pytest.raises(ConfigError, match="cannot be used"):
        Certificates(AccessSettings(tls_certificate=str(pki / "none.pem"), tls_key=str(pki / "server.key")))
