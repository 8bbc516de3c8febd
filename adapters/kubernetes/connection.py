"""One attempt at one request: connection pool, credentials that are read again when they expire, errors told apart."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import aiohttp
import msgspec

from adapters.kubernetes.api_errors import ApiError, Unreachable, api_error
from adapters.kubernetes.credentials import load_credentials
from adapters.kubernetes.objects import one_line
from solver.domain.errors import SourceUnavailable

if TYPE_CHECKING:
    from kubernetes.aio.client.configuration import Configuration
    from kubernetes.aio.client.rest import RESTClientObject

JSON = "application/json"
#: Credentials are not read again before they are so old, in seconds.
_FRESH_S = 1.0
_READS = ("GET", "HEAD")
#: Connections cut short end in the next turns of the event loop, which may be its last.
_GOODBYE_S = 0.01


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked. body: JSON values, None = nothing."""

    method: str
    path: str
    body: Any = None
    content_type: str = JSON
    query: Mapping[str, str] | None = None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


class Connection:
    """The API server as one caller reaches it, in one event loop."""

    def __init__(self, kubeconfig: str | None, context: str | None, before_write: Callable[[], None] | None) -> None:
        self._kubeconfig, self._context, self._before_write = kubeconfig, context, before_write
        self._renewing = asyncio.Lock()
        self._credentials: Configuration | None = None
        self._clients: list[RESTClientObject] = []  # the last is in use; the one before may still end its calls
        self._read_s = 0.0

    @property
    def server(self) -> str:
        """The address of the API server."""
        return str(self._known.host)

    async def open(self) -> None:
        """Read the credentials; nothing is sent yet. Raises SourceUnavailable."""
        from kubernetes.aio.client.rest import RESTClientObject

        credentials = await load_credentials(self._kubeconfig, self._context)
        try:
            client = RESTClientObject(credentials)
        except (OSError, ValueError) as error:  # certificates that are not there, or none
            raise SourceUnavailable(one_line(f"the certificates for {credentials.host}: {error}")) from error
        self._credentials, self._read_s = credentials, time.monotonic()
        self._clients.append(client)
        while len(self._clients) > 2:
            await self._clients.pop(0).close()

    async def close(self) -> None:
        """End every call and connection."""
        while self._clients:
            await self._clients.pop().close()
        await asyncio.sleep(_GOODBYE_S)

    @asynccontextmanager
    async def answer(self, request: Request, timeout: aiohttp.ClientTimeout) -> AsyncIterator[aiohttp.ClientResponse]:
        """A good answer, not read yet; after 401 the credentials are read again and it is tried once more.

        Raises ApiError, also while the answer is read within the block.
        """
        with self._translated(request):
            sent_s = time.monotonic()
            response = await self._send(request, timeout)
            try:
                if response.status == 401:
                    response.close()
                    await self._renew(sent_s)
                    response = await self._send(request, timeout)
                if response.status >= 400:
                    raise _refusal(request, response, await response.read())
                yield response
            finally:
                response.close()  # gives the connection back when all of the answer has been read

    async def _send(self, request: Request, timeout: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
        if request.method not in _READS and self._before_write is not None:
            self._before_write()
        headers = {"Accept": JSON, "Content-Type": request.content_type}
        caller = await self._known.get_api_key_with_prefix("BearerToken")
        if caller:
            headers["Authorization"] = caller.strip()
        url = self.server + request.path + (f"?{urlencode(request.query)}" if request.query else "")
        send: Any = self._clients[-1].request
        answer = await send(request.method, url, headers, request.body, _request_timeout=timeout)
        response: aiohttp.ClientResponse = answer.response
        return response

    async def _renew(self, sent_s: float) -> None:
        """Read the credentials again, unless that has been done since `sent_s`, or a moment before."""
        async with self._renewing:
            if self._read_s < max(sent_s, time.monotonic() - _FRESH_S):
                await self.open()

    @property
    def _known(self) -> "Configuration":
        if self._credentials is None:
            raise RuntimeError("the connection is not open")
        return self._credentials

    @contextmanager
    def _translated(self, request: Request) -> Iterator[None]:
        """Errors of the transport as ours."""
        try:
            yield
        except TimeoutError as error:
            problem = f"{request}: {self.server} does not answer in time"
            raise Unreachable(0, "Timeout", problem) from error
        except (aiohttp.ClientError, OSError) as error:
            problem = f"{request}: {self.server} cannot be reached: {error or type(error).__name__}"
            raise Unreachable(0, type(error).__name__, one_line(problem)) from error


def _refusal(request: Request, response: aiohttp.ClientResponse, data: bytes) -> ApiError:
    """The error of an answer that is not a success: what its Status object says, else its first words."""
    reason, message = response.reason or "", data[:200].decode(errors="replace")
    try:
        status = msgspec.json.decode(data)
    except ValueError:
        status = None
    if isinstance(status, dict):
        reason, message = status.get("reason") or reason, status.get("message") or message
    wait = response.headers.get("Retry-After", "")
    problem = one_line(f"{request}: {response.status} {reason}: {' '.join(message.split())}")
    return api_error(response.status, reason, problem, float(wait) if wait.isdecimal() else None)
