"""Certificates of the server, read again when their files change."""

import grpc
import structlog

from solver.domain.errors import InvalidRequest
from solver.service.config import Tls
from solver.service.pem import read_authorities, read_pair
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
    """The files as grpcio wants them."""
    assert tls.cert_file is not None
    assert tls.key_file is not None
    pair = read_pair(tls.cert_file, tls.key_file)
    warn_if_open(tls.key_file)
    roots = read_authorities(tls.client_ca_file) if tls.client_ca_file is not None else None
    return grpc.ssl_server_certificate_configuration([pair], root_certificates=roots)
