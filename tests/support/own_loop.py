"""What listens on an event loop in a thread of its own, for tests that are not asynchronous."""

import asyncio
import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

#: Seconds to begin, and to end.
TURN_S = 30.0


class OwnLoop(ABC):
    """A context: the thread begins with it, and ends with it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=type(self).__name__, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._begin(), self._loop).result(TURN_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(TURN_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(TURN_S)
        self._loop.close()

    @abstractmethod
    async def _begin(self) -> None:
        """Listen."""

    @abstractmethod
    async def _end(self) -> None:
        """Listen no longer."""
