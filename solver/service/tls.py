"""Certificates of the server, read again when their files change."""

import ssl

import grpc
import structlog

from solver.domain.errors import InvalidRequest
from solver.service.config import Tls
from solver.service.watched import Watched, warn_if_open

_log = structlog.get_logger("huddle.service")


def server_credentials(tls: Tls) -> grpc.ServerCredentials | None:
    """Credentials that follow the files; None for plaintext. Raises InvalidRequest when the files are no good."""
    if tls.cert_file is None or tls.key_file is None:
        return None
    paths = [tls.cert_file, tls.key_file, *([tls.client_ca_file] if tls.client_ca_file else [])]
    watched = Watched(paths, tls.reload_s)
    return grpc.dynamic_ssl_server_credentials(
        _configuration(tls),
        lambda: _renewed(tls, watched),  # type: ignore[arg-type,return-value]  # None = unchanged, says grpcio
        require_client_authentication=tls.client_ca_file is not None,
    )


def _renewed(tls: Tls, watched: Watched) -> grpc.ServerCertificateConfiguration | None:
    """What new connections get from now on; None = what they got before. Asked before every handshake."""
    if not watched.changed():
        return None
    try:
        found = _configuration(tls)
    except InvalidRequest as error:
        # A half-written pair looks like this too; the rest of it is one more change.
        _log.error("certificates_not_reloaded", problem=str(error))
        return None
    _log.info("certificates_reloaded")
    return found


def _configuration(tls: Tls) -> grpc.ServerCertificateConfiguration:
    """The files as grpcio wants them, tried on Python's own TLS first: grpcio accepts anything and fails later."""
    assert tls.cert_file is not None
    assert tls.key_file is not None
    where = f"certificate {tls.cert_file} with key {tls.key_file}"
    try:
        warn_if_open(tls.key_file)
        trial = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trial.load_cert_chain(tls.cert_file, tls.key_file, password="")
        pair = (tls.key_file.read_bytes(), tls.cert_file.read_bytes())
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"{where}: {_problem(error)}") from error
    try:
        roots = None
        if tls.client_ca_file is not None:
            trial.load_verify_locations(tls.client_ca_file)
            roots = tls.client_ca_file.read_bytes()
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"client CA {tls.client_ca_file}: {_problem(error)}") from error
    return grpc.ssl_server_certificate_configuration([pair], root_certificates=roots)


def _problem(error: Exception) -> str:
    """What is wrong, without OpenSSL's source lines."""
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or "").replace("_", " ").lower()
        return f"not a certificate and its unencrypted key in PEM ({reason or 'unreadable'})"
    return getattr(error, "strerror", None) or "unreadable"
