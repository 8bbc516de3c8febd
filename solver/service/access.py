"""How clients reach a service: address, certificates, token, retries."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from solver.domain.errors import InvalidRequest
from solver.service.pem import read_authorities, read_pair

#: What may safely be sent again when the service cannot be reached: questions, looks, and what has a request id.
_RETRIED = (
    {"service": "huddle.v1.PlacementService"},
    {"service": "huddle.v1.ClusterService", "method": "GetState"},
    {"service": "huddle.v1.LedgerService"},
)
#: Between two attempts to connect; gRPC's own two minutes are long for who waits for a service that is back.
_MOST_BACKOFF_MS = 5000
_WORD = re.compile(r"[!-~]+")
_SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": list(_RETRIED),
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}


@dataclass(frozen=True, slots=True)
class Access:
    """Where a service is and who asks.

    target: `HOST:PORT`. tls: whether to encrypt; implied by any of the files. ca_file: who signed the service's
    certificate; None = whom the system trusts. cert_file, key_file: the client's own certificate. token: bearer
    token. max_message_bytes: of one message, either way. Raises InvalidRequest for half a certificate, and for a token
    that no service can have given.
    """

    target: str
    tls: bool = False
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    token: str | None = None
    max_message_bytes: int = 4 * 2**20

    def __post_init__(self) -> None:
        if (self.cert_file is None) != (self.key_file is None):
            raise InvalidRequest("a client certificate and its key are given together")
        if self.token is not None and not _WORD.fullmatch(self.token):
            raise InvalidRequest("the bearer token is not one word of plain characters")

    @property
    def piece_bytes(self) -> int:
        """Size of one piece of a snapshot: well below the limit of a message."""
        return self.max_message_bytes * 3 // 4

    @property
    def options(self) -> Sequence[tuple[str, Any]]:
        """Options of the channel."""
        return (
            ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
            ("grpc.max_receive_message_length", self.max_message_bytes),
            ("grpc.max_send_message_length", self.max_message_bytes),
            ("grpc.max_reconnect_backoff_ms", _MOST_BACKOFF_MS),
        )

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Sent with every call."""
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()

    @property
    def credentials(self) -> grpc.ChannelCredentials | None:
        """Certificates of the channel; None = plaintext. Raises InvalidRequest for files that are no good."""
        if not (self.tls or self.ca_file or self.cert_file):
            return None
        roots = read_authorities(self.ca_file) if self.ca_file else None
        if self.cert_file is None or self.key_file is None:
            return grpc.ssl_channel_credentials(roots)
        return grpc.ssl_channel_credentials(roots, *read_pair(self.cert_file, self.key_file))
