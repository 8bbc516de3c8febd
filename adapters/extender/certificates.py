"""What the extender shows and asks of clients over HTTPS, read again when its files change."""

import ssl
from pathlib import Path

import structlog

from solver.domain.errors import InvalidRequest
from solver.service.pem import read_authorities, read_pair
from solver.service.watched import Watched

#: Until changed files are noticed, in seconds.
RELOAD_S = 10.0

_log = structlog.get_logger("huddle.extender")


class Certificates:
    """A TLS context for a server, with which new connections get what the files hold by then.

    cert, key: PEM files. client_ca: who signs the certificates that clients have to show; None: nobody has to. Raises
    InvalidRequest when the files are no good; later that is logged, and what they held before stays.
    """

    def __init__(self, cert: Path, key: Path, client_ca: Path | None = None, reload_s: float = RELOAD_S) -> None:
        self._cert, self._key, self._client_ca = cert, key, client_ca
        files = [cert, key, *([client_ca] if client_ca else [])]
        self._watched = Watched(files, reload_s)
        self._current = self._read()
        self.context = self._read()
        self.context.sni_callback = self._greeted

    def _greeted(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        """A client has said hello, whether it named a host or not."""
        if self._watched.changed():
            self._renew()
        connection.context = self._current

    def _renew(self) -> None:
        try:
            self._current = self._read()
        except InvalidRequest as error:
            # A half-written pair looks like this too; the rest of it is one more change.
            _log.error("certificates_not_reloaded", problem=str(error))
        else:
            _log.info("certificates_reloaded")

    def _read(self) -> ssl.SSLContext:
        read_pair(self._cert, self._key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._cert, self._key)
        if self._client_ca is not None:
            read_authorities(self._client_ca)
            context.load_verify_locations(self._client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context
