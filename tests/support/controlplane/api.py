"""Plain JSON to and from the API server, for one user: what the tests say is what goes over the wire."""

import json
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any
from urllib.parse import urlencode

import urllib3

Json = dict[str, Any]

#: Connections one user keeps open; also how many calls of `create_all` are on their way at once.
CONNECTIONS = 8
#: Seconds to wait for one of them.
TURN_S = 60.0
PATCHES = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
    "apply": "application/apply-patch+yaml",
}


class Refused(Exception):
    """The API server said no: HTTP status, and the reason and message of its Status object."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status, self.reason, self.message = status, reason, message


class Api:
    """Calls as one user; safe to share among threads. Paths start with /api or /apis."""

    def __init__(self, url: str, authority: str, token: str) -> None:
        self._url, self._token = url, token
        self._pool = urllib3.PoolManager(
            maxsize=CONNECTIONS, block=True, ca_certs=authority, retries=False, timeout=urllib3.Timeout(30.0)
        )

    def get(self, path: str, **query: str) -> Json:
        """An object or a list."""
        return self.call("GET", path, query=query)

    def items(self, path: str, **query: str) -> list[Json]:
        """The objects of a list."""
        items: list[Json] = self.get(path, **query)["items"]
        return items

    def create(self, path: str, body: Mapping[str, Any], **query: str) -> Json:
        """POST to a collection or a subresource."""
        return self.call("POST", path, body, query=query)

    def replace(self, path: str, body: Mapping[str, Any]) -> Json:
        """PUT."""
        return self.call("PUT", path, body)

    def patch(self, path: str, body: Any, kind: str = "merge", **query: str) -> Json:
        """PATCH; the kinds are those of PATCHES."""
        return self.call("PATCH", path, body, kind=PATCHES[kind], query=query)

    def delete(self, path: str, grace_s: int = 0) -> Json:
        """DELETE; pods are gone at once, unless `grace_s` says otherwise."""
        return self.call("DELETE", path, {"gracePeriodSeconds": grace_s})

    def create_all(self, path: str, bodies: Sequence[Mapping[str, Any]]) -> list[Json]:
        """Many objects, several at once, answers in the order asked."""
        with ThreadPoolExecutor(CONNECTIONS) as threads:
            return list(threads.map(lambda body: self.create(path, body), bodies))

    def watch(self, path: str, since: str, limit_s: int = 10) -> Generator[Json]:
        """Events after resource version `since`, until the server ends the watch after `limit_s` seconds."""
        query = {"watch": "1", "resourceVersion": since, "allowWatchBookmarks": "true", "timeoutSeconds": str(limit_s)}
        response = self._send("GET", path, None, "", query, stream=True)
        with closing(response):
            if response.status >= 400:
                raise _refusal(response.status, response.read())
            rest = b""
            for part in response.stream():
                *lines, rest = (rest + part).split(b"\n")
                yield from map(json.loads, lines)

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        kind: str = "application/json",
        query: Mapping[str, str] | None = None,
    ) -> Json:
        """One request; raises Refused unless the answer is a success."""
        response = self._send(method, path, body, kind, query or {})
        if response.status >= 400:
            raise _refusal(response.status, response.data)
        answer: Json = json.loads(response.data)
        return answer

    def text(self, path: str) -> str:
        """The answer of a path that does not speak JSON, such as /readyz; raises Refused."""
        response = self._send("GET", path, None, "", {})
        if response.status >= 400:
            raise _refusal(response.status, response.data)
        return response.data.decode()

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    def _send(
        self, method: str, path: str, body: Any, kind: str, query: Mapping[str, str], stream: bool = False
    ) -> urllib3.BaseHTTPResponse:
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = kind
        target = self._url + path + (f"?{urlencode(query)}" if query else "")
        data = None if body is None else json.dumps(body).encode()
        return self._pool.request(
            method, target, body=data, headers=headers, preload_content=not stream, pool_timeout=TURN_S
        )


def _refusal(status: int, data: bytes) -> Refused:
    try:
        answer = json.loads(data)
    except ValueError:
        return Refused(status, "", data.decode(errors="replace"))
    return Refused(status, answer.get("reason", ""), answer.get("message", ""))
