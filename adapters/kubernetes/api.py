"""Plain JSON to and from the API server: raw objects, errors told apart, calls tried again.

Paths start with /api or /apis; `adapters.kubernetes.resources` makes them. Objects are dictionaries as they came.
"""

import asyncio
import itertools
import random
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal

import aiohttp
import msgspec

from adapters.kubernetes.api_errors import ApiError, Busy, Unreachable
from adapters.kubernetes.connection import Connection, Request
from adapters.kubernetes.garbage import garbage_collection_paused
from adapters.kubernetes.resources import PODS

Json = dict[str, Any]
Query = Mapping[str, str]
Reader = Callable[[bytes], Any]
PatchKind = Literal["merge", "json", "strategic", "apply"]

_PATCHES: Mapping[PatchKind, str] = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a call is tried.

    request_s: one attempt, connecting included. attempts: of one call that gets no answer, 429 or 5xx. pause_s: before
    the second attempt, doubled before each further one, with jitter; what the server asks for in Retry-After counts
    more. most_pause_s: longest pause. idle_s: a watch that says nothing for so long, not even a bookmark (one comes
    about every minute), is given up.
    """

    request_s: float = 30.0
    attempts: int = 4
    pause_s: float = 0.2
    most_pause_s: float = 10.0
    idle_s: float = 150.0

    def before(self, attempt: int, asked_s: float | None = None) -> float:
        """Seconds to wait before attempt 2, 3, …; asked_s: what the server would like."""
        longest_s = min(self.most_pause_s, self.pause_s * 2.0 ** min(attempt - 2, 30))
        return max(min(asked_s or 0.0, self.most_pause_s), random.uniform(0.5, 1.0) * longest_s)


class Api:
    """Calls to one API server. Use it as an asynchronous context manager, in one event loop.

    Every method raises ApiError (adapters.kubernetes.api_errors). Calls that got no answer, 429 or 5xx are tried
    again, also those that write: whoever writes says by uid or resourceVersion what they expect, and reads Conflict
    and NotFound as "perhaps my first attempt did it". After 401 the credentials are read again.
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
        self._connection = Connection(kubeconfig, context, before_write)
        self._patience = patience or Patience()

    async def __aenter__(self) -> "Api":
        """Read the credentials; nothing is sent yet. Raises SourceUnavailable."""
        await self._connection.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._connection.close()

    @property
    def server(self) -> str:
        """The address of the API server."""
        return self._connection.server

    async def get(self, path: str, query: Query | None = None) -> Json:
        """An object, or a short list."""
        return decoded(await self._call(Request("GET", path, query=query)))

    async def list_pages(
        self, path: str, query: Query | None = None, page: int = 500, read: Reader = msgspec.json.decode
    ) -> AsyncGenerator[Json, None]:
        """A list, page by page, `page` objects each. Raises Gone when reading it takes longer than it is kept.

        read: makes a page of its bytes; at least `metadata` has to be in it.
        """
        asked = {**(query or {}), "limit": str(page)}
        while True:
            found = decoded(await self._call(Request("GET", path, query=asked)), read)
            yield found
            more = (found.get("metadata") or {}).get("continue")
            if not more:
                return
            asked = {name: value for name, value in asked.items() if not name.startswith("resourceVersion")}
            asked["continue"] = more  # which says as of when

    async def watch(self, path: str, since: str, query: Query | None = None) -> AsyncGenerator[list[bytes], None]:
        """Lines of a watch after resource version `since`, as they arrive, until the server ends it; one attempt.

        An empty group comes first, as soon as the server has agreed.
        """
        asked = {"watch": "1", "resourceVersion": since, "allowWatchBookmarks": "true", **(query or {})}
        patience = self._patience
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=patience.request_s, sock_read=patience.idle_s)
        async with self._connection.answer(Request("GET", path, query=asked), timeout) as response:
            yield []
            rest = b""
            async for part in response.content.iter_any():
                *lines, rest = (rest + part).split(b"\n")
                if lines:
                    yield lines
            if rest:
                yield [rest]

    async def create(self, path: str, body: Mapping[str, Any], query: Query | None = None) -> Json:
        """POST to a collection or a subresource."""
        return decoded(await self._call(Request("POST", path, body, query=query)))

    async def replace(self, path: str, body: Mapping[str, Any], query: Query | None = None) -> Json:
        """PUT; with `metadata.resourceVersion` in the body, Conflict if the object has changed since."""
        return decoded(await self._call(Request("PUT", path, body, query=query)))

    async def patch(self, path: str, body: Any, kind: PatchKind = "merge", query: Query | None = None) -> Json:
        """PATCH. body: a list of operations for `json`, else a mapping.

        `metadata.resourceVersion` in a mapping is what the object must have: Conflict if not. So is `metadata.uid`:
        Invalid if not.
        """
        return decoded(await self._call(Request("PATCH", path, body, _PATCHES[kind], query)))

    async def delete(
        self, path: str, uid: str | None = None, resource_version: str | None = None, grace_s: int | None = None
    ) -> Json:
        """DELETE, of the object with this uid and resource version only (Conflict). grace_s: of pods; None: theirs."""
        return decoded(await self._call(Request("DELETE", path, _delete_options(uid, resource_version, grace_s))))

    async def bind(self, namespace: str, pod: str, node: str, uid: str, resource_version: str | None = None) -> None:
        """Bind a pod, of this uid and resource version only, to a node.

        Raises Conflict if it is not that, is bound, even there, gated or leaving.
        """
        expected = {"resourceVersion": resource_version} if resource_version else {}
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": pod, "namespace": namespace, "uid": uid, **expected},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        await self._call(Request("POST", PODS.path(namespace, pod, "binding"), body))

    async def evict(self, namespace: str, pod: str, uid: str, grace_s: int | None = None) -> None:
        """Evict a pod of this uid; one attempt. Raises Busy when a disruption budget does not allow it now."""
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": namespace},
            "deleteOptions": _delete_options(uid, None, grace_s),
        }
        await self._call(Request("POST", PODS.path(namespace, pod, "eviction"), body), attempts=1)

    async def _call(self, request: Request, attempts: int | None = None) -> bytes:
        """The bytes of a good answer."""
        timeout = aiohttp.ClientTimeout(total=self._patience.request_s)
        most = attempts or self._patience.attempts
        for attempt in itertools.count(1):
            try:
                async with self._connection.answer(request, timeout) as response:
                    return await response.read()
            except (Busy, Unreachable) as error:
                if attempt >= most:
                    raise
                asked_s = error.retry_after_s if isinstance(error, Busy) else None
                await asyncio.sleep(self._patience.before(attempt + 1, asked_s))
        raise AssertionError("the loop returns or raises")


def decoded(data: bytes, read: Reader = msgspec.json.decode) -> Json:
    """The object in an answer of the API server. Raises ApiError for anything else."""
    with garbage_collection_paused():
        try:
            found = read(data)
        except (ValueError, RecursionError) as error:
            raise ApiError(
                200, "NotJson", f"the API server answered with something that is not JSON: {error}"
            ) from error
    if not isinstance(found, dict):
        raise ApiError(200, "NotJson", "the API server answered with something that is no object")
    return found


def _delete_options(uid: str | None, resource_version: str | None, grace_s: int | None) -> Json:
    expected = {"uid": uid, "resourceVersion": resource_version}
    options: Json = {"apiVersion": "v1", "kind": "DeleteOptions"}
    if any(expected.values()):
        options["preconditions"] = {name: value for name, value in expected.items() if value}
    if grace_s is not None:
        options["gracePeriodSeconds"] = grace_s
    return options
