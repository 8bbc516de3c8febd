"""Certificates and keys in PEM files, tried on Python's own TLS first: gRPC accepts anything and fails later."""

import ssl
from pathlib import Path

from solver.domain.errors import InvalidRequest


def read_pair(cert_file: Path, key_file: Path) -> tuple[bytes, bytes]:
    """The key and the chain of certificates that belongs to it. Raises InvalidRequest with one sentence."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert_file, key_file, password="")
        return key_file.read_bytes(), cert_file.read_bytes()
    except (OSError, ValueError) as error:
        problem = _problem(error, "not a certificate and its unencrypted key")
        raise InvalidRequest(f"certificate {cert_file} with key {key_file}: {problem}") from error


def read_authorities(file: Path) -> bytes:
    """Certificates of who signs others. Raises InvalidRequest with one sentence."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(file)
        return file.read_bytes()
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"CA {file}: {_problem(error, 'no certificate')}") from error


def _problem(error: Exception, expected: str) -> str:
    """What is wrong, without OpenSSL's source lines. expected: what the files are not."""
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or "").replace("_", " ").lower()
        return f"{expected} in PEM ({reason or 'unreadable'})"
    return getattr(error, "strerror", None) or "unreadable"
