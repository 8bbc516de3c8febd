"""What was written here and the mirror does not show yet, so that nothing is decided on what is known to be old."""

import threading
from collections.abc import Mapping
from typing import Any

Body = Mapping[str, Any]


#: Objects remembered; the oldest, which the mirror has long shown, or which are gone, make room.
_MOST = 20_000


class OwnWrites:
    """Objects as the answers to writes had them, by uid. Any thread may call anything."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._bodies: dict[str, Body] = {}
        self._gone: set[str] = set()

    def wrote(self, body: Body) -> None:
        """An object is like this now."""
        with self._lock:
            self._bodies.pop(uid_of(body), None)
            self._bodies[uid_of(body)] = body
            if len(self._bodies) > _MOST:
                del self._bodies[next(iter(self._bodies))]

    def deleted(self, uid: str) -> None:
        """An object is gone."""
        with self._lock:
            self._gone.add(uid)
            self._bodies.pop(uid, None)

    def shown(self, before: Body | None, now: Body | None) -> None:
        """The mirror shows an object as it is `now`, instead of `before`; None = not there."""
        with self._lock:
            for body in (before, now):
                if body is not None and (now is None or uid_of(body) != uid_of(now)):
                    self._gone.discard(uid_of(body))
                    self._bodies.pop(uid_of(body), None)
            if now is not None:
                self.newest(now)

    def newest(self, body: Body) -> Body | None:
        """The object, which the mirror shows like this, as it is known here; None when it is known to be gone."""
        with self._lock:
            uid = uid_of(body)
            if uid in self._gone:
                return None
            own = self._bodies.get(uid)
            if own is None:
                return body
            if _revision(own) > _revision(body):
                return own
            del self._bodies[uid]
            return body

    def find(self, namespace: str, name: str) -> Body | None:
        """An object of this name that was written and never shown."""
        with self._lock:
            for body in self._bodies.values():
                metadata = body["metadata"]
                if (metadata.get("namespace"), metadata.get("name")) == (namespace, name):
                    return body
            return None

    def forget(self, uid: str) -> None:
        """Believe the mirror about this object again."""
        with self._lock:
            self._bodies.pop(uid, None)
            self._gone.discard(uid)


def uid_of(body: Body) -> str:
    """The uid of an object."""
    return str(body["metadata"]["uid"])


def _revision(body: Body) -> int:
    text = str(body["metadata"].get("resourceVersion", ""))
    return int(text) if text.isdecimal() else 0
