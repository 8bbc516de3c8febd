"""Certificates: of the server, of clients, over, foreign, wrong, renewed."""

import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from solver.api.v1 import cluster_service_pb2, cluster_service_pb2_grpc
from solver.domain.errors import InvalidRequest
from solver.service.config import Metrics, Tls
from solver.service.roles import Role
from support.certificates import Certificate, CertificateAuthority
from tests.service.conftest import CONFIG, TOKENS, Running, Serve, bearer

Encrypted = Callable[..., Running]

#: What a client of a page hears that ends the connection.
NOT_LET_IN = (urllib.error.URLError, ssl.SSLError, ConnectionError)


@pytest.fixture(scope="module")
def ours() -> CertificateAuthority:
    """Who signs for servers and clients here."""
    return CertificateAuthority("ours")


@pytest.fixture(scope="module")
def foreign() -> CertificateAuthority:
    """Somebody else of the same name."""
    return CertificateAuthority("ours")


@pytest.fixture
def encrypted(serve: Serve, tmp_path: Path, ours: CertificateAuthority) -> Encrypted:
    """Start a server with a certificate, and with `mutual=True` one that wants certificates of its clients."""

    def started(certificate: Certificate | None = None, mutual: bool = False, **sections: object) -> Running:
        cert_file, key_file = (certificate or ours.server()).write(tmp_path, "server")
        ca_file = tmp_path / "ca.crt"
        ca_file.write_bytes(ours.pem)
        return serve(tls=Tls(cert_file, key_file, ca_file if mutual else None, reload_s=0), **sections)

    return started


def asked(
    server: Running, roots: bytes, client: Certificate | None = None, metadata: tuple[tuple[str, str], ...] = ()
) -> grpc.StatusCode:
    """Status of GetState over a new encrypted connection."""
    pair = (client.key, client.certificate) if client else (None, None)
    with grpc.secure_channel(server.target, grpc.ssl_channel_credentials(roots, *pair)) as channel:
        try:
            stub = cluster_service_pb2_grpc.ClusterServiceStub(channel)
            stub.GetState(cluster_service_pb2.GetStateRequest(), timeout=20, metadata=metadata)
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


def renew(path: Path, content: bytes) -> None:
    """Another file in its place: one written over may have the size and, moments later, the time it had before."""
    fresh = path.with_suffix(".new")
    fresh.write_bytes(content)
    fresh.replace(path)


def test_an_encrypted_call(encrypted: Encrypted, ours: CertificateAuthority) -> None:
    """A client that trusts the authority gets its answer."""
    assert asked(encrypted(), ours.pem) is grpc.StatusCode.OK


@pytest.mark.parametrize("mutual", [False, True])
def test_metrics_that_others_reach_are_encrypted(
    encrypted: Encrypted, tmp_path: Path, ours: CertificateAuthority, mutual: bool
) -> None:
    """They are served over HTTPS, to clients that show a certificate where clients need one, and not in plaintext."""
    # An address of this machine that is not told for one, so that nothing is opened to the network.
    server = encrypted(mutual=mutual, metrics=Metrics("127.1:0"))
    page = f"localhost:{server.logged('ready')[-1]['metrics_port']}/metrics"
    trust = ssl.create_default_context(cadata=ours.pem.decode())
    if mutual:
        with pytest.raises(NOT_LET_IN):
            urllib.request.urlopen(f"https://{page}", context=trust, timeout=20).read()
        trust.load_cert_chain(*ours.client("prometheus").write(tmp_path, "client"))
    with urllib.request.urlopen(f"https://{page}", context=trust, timeout=20) as answer:
        assert b"huddle_solves_running" in answer.read()
    with pytest.raises(NOT_LET_IN):
        urllib.request.urlopen(f"http://{page}", timeout=20)


@pytest.mark.parametrize("wrong", ["over", "other name", "foreign"])
def test_clients_refuse_a_server_that_is_not_right(
    encrypted: Encrypted, ours: CertificateAuthority, foreign: CertificateAuthority, wrong: str
) -> None:
    """A certificate that is over, for another host, or signed by somebody else ends in UNAVAILABLE."""
    certificate = {
        "over": ours.server(over=True),
        "other name": ours.server("elsewhere"),
        "foreign": foreign.server(),
    }[wrong]
    assert asked(encrypted(certificate), ours.pem) is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("wrong", ["none", "over", "foreign"])
def test_mutual_tls_refuses_clients_that_are_not_right(
    encrypted: Encrypted, ours: CertificateAuthority, foreign: CertificateAuthority, wrong: str
) -> None:
    """No certificate, one that is over, one signed by somebody else: no connection; and the next good one gets in."""
    names = {"CN=planner": Role.PLAN}
    server = encrypted(mutual=True, auth=replace(CONFIG.auth, certificates=names))
    client = {"none": None, "over": ours.client("planner", over=True), "foreign": foreign.client("planner")}[wrong]
    assert asked(server, ours.pem, client) is grpc.StatusCode.UNAVAILABLE
    assert asked(server, ours.pem, ours.client("planner")) is grpc.StatusCode.OK


def test_certificates_have_the_roles_of_their_names(
    encrypted: Encrypted, ours: CertificateAuthority, token_file: Path
) -> None:
    """By common name or alternative name; one that is not named has no role, unless a token gives it one."""
    uri = "spiffe://site/reader"
    server = encrypted(
        mutual=True,
        auth=replace(CONFIG.auth, certificates={"CN=planner": Role.PLAN, uri: Role.READ}, token_file=token_file),
    )
    assert asked(server, ours.pem, ours.client("planner")) is grpc.StatusCode.OK
    assert asked(server, ours.pem, ours.client("anything", uri)) is grpc.StatusCode.OK
    assert asked(server, ours.pem, ours.client("stranger")) is grpc.StatusCode.PERMISSION_DENIED
    assert asked(server, ours.pem, ours.client("stranger"), bearer(TOKENS["read"])) is grpc.StatusCode.OK


def test_renewed_certificates_count_for_new_connections(
    encrypted: Encrypted, ours: CertificateAuthority, foreign: CertificateAuthority, tmp_path: Path
) -> None:
    """New files are served without a restart; half of a pair is not, and the old pair goes on."""
    server = encrypted()
    assert asked(server, foreign.pem) is grpc.StatusCode.UNAVAILABLE
    renewed = foreign.server()
    renew(tmp_path / "server.crt", renewed.certificate)
    assert asked(server, ours.pem) is grpc.StatusCode.OK
    assert len(server.logged("certificates_not_reloaded")) == 1
    renew(tmp_path / "server.key", renewed.key)
    assert asked(server, foreign.pem) is grpc.StatusCode.OK
    assert asked(server, ours.pem) is grpc.StatusCode.UNAVAILABLE


def test_tls_to_a_plaintext_port_and_back(server: Running, encrypted: Encrypted, ours: CertificateAuthority) -> None:
    """Neither gets an answer, and both servers live on."""
    assert asked(server, ours.pem) is grpc.StatusCode.UNAVAILABLE
    server.cluster.GetState(cluster_service_pb2.GetStateRequest(), timeout=20)
    other = encrypted()
    with pytest.raises(grpc.RpcError) as refused:
        other.cluster.GetState(cluster_service_pb2.GetStateRequest(), timeout=20)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert asked(other, ours.pem) is grpc.StatusCode.OK


def test_garbage_instead_of_a_handshake(encrypted: Encrypted, ours: CertificateAuthority) -> None:
    """Bytes that are no TLS end that connection and no other."""
    server = encrypted()
    for garbage in (b"\x00" * 1000, b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"\xff" * 5000):
        with closing(socket.create_connection(("127.0.0.1", server.port), timeout=20)) as connection:
            connection.sendall(garbage)
    assert asked(server, ours.pem) is grpc.StatusCode.OK


@pytest.mark.parametrize("broken", ["absent", "garbage", "other key", "locked key", "no client CA"])
def test_bad_files_are_refused_before_listening(
    serve: Serve, tmp_path: Path, ours: CertificateAuthority, broken: str
) -> None:
    """One sentence that names the file and holds nothing of the key."""
    certificate = ours.server()
    cert_file, key_file = certificate.write(tmp_path, "server")
    ca_file = None
    if broken == "absent":
        key_file.unlink()
    elif broken == "garbage":
        cert_file.write_text("no certificate")
    elif broken == "other key":
        key_file.write_bytes(ours.server().key)
    elif broken == "locked key":
        key_file.write_bytes(certificate.locked().key)
    else:
        ca_file = tmp_path / "ca.crt"
        ca_file.write_text("no certificate")
    with pytest.raises(InvalidRequest) as refused:
        serve(tls=Tls(cert_file, key_file, ca_file))
    assert str(tmp_path) in str(refused.value)
    assert "\n" not in str(refused.value)
    assert certificate.key.decode().splitlines()[1] not in str(refused.value)


def test_a_key_that_everybody_reads_is_told(encrypted: Encrypted, tmp_path: Path, ours: CertificateAuthority) -> None:
    """A warning names the file; nothing is refused."""
    certificate = ours.server()
    encrypted(certificate)
    server = encrypted(certificate)
    assert server.logged("file_world_readable") == []
    (tmp_path / "server.key").chmod(0o644)
    renew(tmp_path / "server.crt", certificate.certificate)
    assert asked(server, ours.pem) is grpc.StatusCode.OK
    assert {line["file"] for line in server.logged("file_world_readable")} == {str(tmp_path / "server.key")}
