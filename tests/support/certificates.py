"""Certificates for tests of the service: an authority, servers, clients; valid, over, or from somebody else."""

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate and its key, PEM."""

    certificate: bytes
    key: bytes

    def locked(self) -> "Certificate":
        """The same with its key behind a password."""
        key = serialization.load_pem_private_key(self.key, None)
        lock = serialization.BestAvailableEncryption(b"password")
        private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)
        return Certificate(self.certificate, private)

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Files of the certificate and of its key, which only the owner may read."""
        files = folder / f"{name}.crt", folder / f"{name}.key"
        for file, content in zip(files, (self.certificate, self.key), strict=True):
            file.write_bytes(content)
            file.chmod(0o600)
        return files


class CertificateAuthority:
    """Signs certificates. pem: its own."""

    def __init__(self, name: str = "authority") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        builder = _builder(self._name, self._name, self._key.public_key(), over=False)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        self.pem = builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def server(self, name: str = "localhost", over: bool = False) -> Certificate:
        """For a server on this machine; over = its time has ended."""
        names = [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        return self._signed(name, names if name == "localhost" else names[:1], over)

    def client(self, name: str, alternative: str | None = None, over: bool = False) -> Certificate:
        """For a client with a common name and perhaps a URI as alternative name."""
        return self._signed(name, [x509.UniformResourceIdentifier(alternative)] if alternative else [], over)

    def _signed(self, name: str, alternatives: list[x509.GeneralName], over: bool) -> Certificate:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_named(name), self._name, key.public_key(), over)
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Certificate(certificate.public_bytes(serialization.Encoding.PEM), private)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, over: bool
) -> x509.CertificateBuilder:
    begins = datetime.now(UTC) - 2 * _DAY
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + _DAY if over else begins + 30 * _DAY)
    )
