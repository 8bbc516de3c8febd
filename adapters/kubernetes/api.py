"""Plain JSON to and from the API server: raw objects, one connection pool, errors told apart, calls tried again.

Paths start with /api or /apis; `adapters.kubernetes.resources` makes them. Objects are dictionaries as they came.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal

Json = dict[str, Any]
Query = Mapping[str, str]
PatchKind = Literal["merge", "json", "strategic", "apply"]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a call is tried.

    request_s: one attempt, connecting included. attempts: of one call that gets no answer, 429 or 5xx. pause_s: before
    the second attempt, doubled before each further one, with jitter; what the server asks for in Retry-After counts
    more. most_pause_s: longest pause. idle_s: a watch that says nothing for so long, not even a bookmark, is given up.
    """

    request_s: float = 30.0
    attempts: int = 4
    pause_s: float = 0.2
    most_pause_s: float = 10.0
    idle_s: float = 150.0


class Api:
    """Calls to one API server. Use it as an asynchronous context manager, in one event loop.

    Every method raises ApiError (adapters.kubernetes.api_errors). Calls that got no answer, 429 or 5xx are tried
    again, also those that write: whoever writes says by uid or resourceVersion what they expect, and reads Conflict
    and NotFound as "perhaps my first attempt did it".
    """

    def __init__(
        self,
        kubeconfig: str | None = None,
        context: str | None = None,
        patience: Patience | None = None,
        before_write: Callable[[], None] | None = None,
    ) -> None:
        """kubeconfig, context: as for kubectl; None: the service account inside a cluster, else kubectl's default.

        before_write: called before every attempt to change something; what it raises ends the call.
        """
        raise NotImplementedError

    async def __aenter__(self) -> "Api":
        raise NotImplementedError

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        raise NotImplementedError

    async def get(self, path: str, query: Query | None = None) -> Json:
        """An object, or a short list."""
        raise NotImplementedError

    def list_pages(self, path: str, query: Query | None = None, page: int = 500) -> AsyncIterator[bytes]:
        """A list as the bytes of its pages, `page` objects each. Raises Gone when it takes too long to read."""
        raise NotImplementedError

    def watch(self, path: str, since: str, query: Query | None = None) -> AsyncIterator[list[bytes]]:
        """Lines of a watch after resource version `since`, as they arrive, until the server ends it; one attempt."""
        raise NotImplementedError

    async def create(self, path: str, body: Mapping[str, Any], query: Query | None = None) -> Json:
        """POST to a collection or a subresource."""
        raise NotImplementedError

    async def replace(self, path: str, body: Mapping[str, Any], query: Query | None = None) -> Json:
        """PUT; with `metadata.resourceVersion` in the body, Conflict if the object has changed since."""
        raise NotImplementedError

    async def patch(self, path: str, body: Any, kind: PatchKind = "merge", query: Query | None = None) -> Json:
        """PATCH. body: a list of operations for `json`, else a mapping; uid and resourceVersion in it are expected."""
        raise NotImplementedError

    async def delete(
        self, path: str, uid: str | None = None, resource_version: str | None = None, grace_s: int | None = None
    ) -> Json:
        """DELETE, of the object with this uid and resource version only (Conflict). grace_s: of pods; None: theirs."""
        raise NotImplementedError

    async def bind(self, namespace: str, pod: str, node: str, uid: str) -> None:
        """Bind a pod, of this uid only, to a node. Raises Conflict if it is bound, even there, gated or leaving."""
        raise NotImplementedError

    async def evict(self, namespace: str, pod: str, uid: str, grace_s: int | None = None) -> None:
        """Evict a pod of this uid; one attempt. Raises Busy when a disruption budget does not allow it now."""
        raise NotImplementedError
