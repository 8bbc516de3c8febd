"""Who calls, and whether they may."""

from collections.abc import Iterable, Mapping

import grpc

from solver.service.config import ServiceConfig
from solver.service.errors import Denied, Unauthenticated
from solver.service.roles import HEALTH, NEEDED, Role
from solver.service.tokens import Caller, Tokens

#: Name of callers without credentials.
ANONYMOUS = "anonymous"


class Authority:
    """Decides about calls: by a bearer token if the call shows one, else by its client certificate, else as anonymous.

    A token that is shown must be right, whatever else the call has. Raises InvalidRequest when the token file cannot
    be read.
    """

    def __init__(self, config: ServiceConfig) -> None:
        auth = config.auth
        self._tokens = Tokens(auth.token_file, auth.reload_s) if auth.token_file else None
        self._by_certificate = auth.certificates
        self._anonymous = config.anonymous_role
        self._open_health = auth.open_health
        self._certificates = config.tls.client_ca_file is not None

    def caller(self, method: str, context: grpc.ServicerContext) -> Caller:
        """Who calls `/package.Service/Method`. Raises Unauthenticated."""
        if self._open_health and method.startswith(f"/{HEALTH}/"):
            return Caller(ANONYMOUS, Role.READ)
        token = _bearer(context.invocation_metadata())
        if token is not None:
            found = self._tokens.find(token) if self._tokens else None
            if found is None:
                raise Unauthenticated("the bearer token is not known")
            return found
        if self._certificates:
            return self._certified(_names(context.auth_context()))
        if self._anonymous is None:
            raise Unauthenticated("the call needs `authorization` metadata: Bearer and a token")
        return Caller(ANONYMOUS, self._anonymous)

    def check(self, caller: Caller, method: str) -> None:
        """Raises Denied when the role of the caller is not enough for the method."""
        needed = NEEDED.get(method)
        if needed is None:
            raise Denied(f"{method} is open to no role")
        if caller.role is None or not caller.role.may(needed):
            has = f"role {caller.role}" if caller.role else "no role"
            raise Denied(f"{method} needs role {needed}; {caller.name} has {has}")

    def _certified(self, names: list[str]) -> Caller:
        """The bearer of a certificate: the highest role that any of its names has."""
        known = {name: self._by_certificate[name] for name in names if name in self._by_certificate}
        if not known:
            return Caller(names[0] if names else "certificate without name", self._anonymous)
        order = list(Role)
        name = max(known, key=lambda name: order.index(known[name]))
        return Caller(name, known[name])


def _bearer(metadata: Iterable[tuple[str, str | bytes]]) -> str | None:
    """The bearer token of a call; None without `authorization`."""
    shown = [value for key, value in metadata if key == "authorization"]
    if not shown:
        return None
    scheme, _, token = shown[0].partition(" ") if isinstance(shown[0], str) else ("", "", "")
    if len(shown) > 1 or scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated("`authorization` metadata must be one value: Bearer and a token")
    return token.strip()


def _names(context: Mapping[str, object]) -> list[str]:
    """Names of a verified client certificate: alternative ones first, then `CN=` and the common name."""
    found = [name.decode("utf-8", "replace") for name in _values(context, "x509_subject_alternative_name")]
    return found + [f"CN={name.decode('utf-8', 'replace')}" for name in _values(context, "x509_common_name")]


def _values(context: Mapping[str, object], key: str) -> list[bytes]:
    """Values of a property; grpcio gives lists, its stubs say bytes."""
    values = context.get(key, [])
    return [value for value in values if isinstance(value, bytes)] if isinstance(values, list | tuple) else []
