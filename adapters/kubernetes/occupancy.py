"""Which pods hold capacity, kept up to date pod by pod: their nodes, their queues, and what promises a node to them."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from adapters.kubernetes.cluster import queues_by_gang
from adapters.kubernetes.decoding import Body
from adapters.kubernetes.objects import Document
from adapters.kubernetes.priorities import Priorities
from adapters.kubernetes.problems import SOURCE, Problems
from adapters.kubernetes.remembered_requests import RememberedRequests
from adapters.kubernetes.resources import BIND_REQUESTS, GANGS, POD_GROUPS, PODS, PRIORITY_CLASSES, Resource
from adapters.kubernetes.running import bound_node, nominated_node, read_bind_requests, read_bound_pod
from adapters.kubernetes.shares import SharedDevices, charged, read_share
from solver.domain.errors import InvalidRequest
from solver.domain.pods import BoundPod

#: Namespace (empty for kinds without one) and name.
Key = tuple[str, str]
Store = Mapping[Resource, Mapping[Key, Body]]

#: Objects that name the queue of a gang, later ones before earlier ones.
NAMING_QUEUES = (*POD_GROUPS, GANGS)

_log = logging.getLogger("huddle.mirror")


class Occupancy:
    """The pods of a store that hold capacity, read anew one by one."""

    def __init__(self, store: Store, problems: Problems) -> None:
        self._store, self._problems = store, problems
        self._bound: dict[Key, BoundPod] = {}
        self._unread: dict[Key, str] = {}  # the nodes of bound pods that cannot be read
        self._on_node: dict[str, dict[Key, None]] = {}  # of both
        self._of_gang: dict[str, dict[Key, None]] = {}  # of `_bound`
        self._queue_of: dict[str, str] = {}  # by gang
        self._requests_of = RememberedRequests()
        self._requests: dict[Key, dict[Key, None]] = {}  # BindRequests by pod
        self._shared = SharedDevices()
        self._sharing: dict[Key, str] = {}  # pods that share a GPU, and what was said about it
        self._recounted: set[Key] = set()
        self._nominated: dict[Key, None] = {}
        self._priorities: Priorities | None = None

    def get(self, key: Key) -> BoundPod | None:
        """A pod that holds capacity, as last read, with the shared devices that count for it."""
        pod = self._bound.get(key)
        return charged(pod, self._shared.devices(key)) if key in self._sharing and pod is not None else pod

    def recounted(self) -> Iterable[Key]:
        """Pods of which something else counts since the last call because others were read: shared devices."""
        found, self._recounted = self._recounted, set()
        return sorted(found)

    def on(self, node: str) -> Sequence[Key]:
        """Pods bound to a node, whether it is known or not."""
        return tuple(self._on_node.get(node, ()))

    def is_unclear(self, node: str) -> bool:
        """Whether a pod on this node cannot be read: nobody knows what is free."""
        return node in self._unread.values()

    def read_priorities(self) -> Iterable[Key]:
        """Learn the PriorityClasses anew; the pods that may have another priority then."""
        self._priorities = None
        return tuple(self._nominated)

    def read_request(self, key: Key, before: Body | None, now: Body | None) -> Iterator[Key]:
        """Learn a BindRequest anew; the pods it is about."""
        for body, add in ((before, False), (now, True)):
            name = ((body or {}).get("spec") or {}).get("podName")
            if not name:
                continue
            pod = (key[0], name)
            if add:
                self._requests.setdefault(pod, {})[key] = None
            else:
                _discard(self._requests, pod, key)
            yield pod

    def read_queue_of(self, key: Key) -> Iterable[Key]:
        """Learn the queue of a gang anew; the pods whose queue that changes."""
        gang = f"{key[0]}/{key[1]}"
        docs = [Document(body, SOURCE) for kind in NAMING_QUEUES if (body := self._store[kind].get(key))]
        queue = self._problems.reading(f"queue of gang {gang}", lambda: queues_by_gang(docs).get(gang, ""), "")
        if queue == self._queue_of.get(gang, ""):
            return ()
        self._queue_of[gang] = queue
        if not queue:
            del self._queue_of[gang]
        return tuple(self._of_gang.get(gang, ()))

    def read_pod(self, key: Key) -> Iterator[str]:
        """Learn a pod anew; the nodes about which less, or more, is clear because of that."""
        yield from self._forget(key)
        node, pod, problem, priority = "", None, "", None
        body = self._store[PODS].get(key)
        if body is not None:
            try:
                doc = Document(body, SOURCE)
                node = self._node_of(key, doc)
                if not node and (nominated := nominated_node(doc)):
                    node, priority = nominated, self._priority(doc)
                pod = read_bound_pod(doc, node, self._queue_of, self._requests_of, priority) if node else None
            except InvalidRequest as error:
                problem = str(error)
                node = node if priority is None else ""  # nobody can give it what it waits for
        self._problems.set(f"Pod {key[0]}/{key[1]}", problem)
        self._read_share(key, pod)
        if not node:
            return
        self._on_node.setdefault(node, {})[key] = None
        if pod is None:
            self._unread[key] = node
            yield node
            return
        self._bound[key] = pod
        if pod.is_nominated:
            self._nominated[key] = None
        self._of_gang.setdefault(pod.gang, {})[key] = None

    def _read_share(self, key: Key, pod: BoundPod | None) -> None:
        """Learn what a bound pod shares, and say so when that is news."""
        share = read_share(Document(self._store[PODS][key], SOURCE), pod.requests) if pod is not None else None
        if share is None and key not in self._sharing:
            return
        self._recounted |= self._shared.set(key, pod.node if pod is not None else "", share)
        before = self._sharing.pop(key, "")
        if share is not None:
            self._sharing[key] = share.message
            if share.field and share.message != before:
                _log.warning("Pod %s/%s: %s: %s", *key, share.field, share.message)

    def _forget(self, key: Key) -> Iterator[str]:
        before, unread = self._bound.pop(key, None), self._unread.pop(key, "")
        self._nominated.pop(key, None)
        if before is not None:
            _discard(self._on_node, before.node, key)
            _discard(self._of_gang, before.gang, key)
        if unread:
            _discard(self._on_node, unread, key)
            yield unread

    def _priority(self, pod: Document) -> int:
        """The priority of a pod; of PriorityClasses that cannot be read none is known."""
        if self._priorities is None:
            docs = [Document(body, SOURCE) for _, body in sorted(self._store[PRIORITY_CLASSES].items())]
            self._priorities = self._problems.reading("PriorityClasses", lambda: Priorities(docs), Priorities())
        return self._priorities.of_pod(pod)

    def _node_of(self, key: Key, pod: Document) -> str:
        """The node that a pod is bound to, or that a BindRequest promises it."""
        requests = self._requests.get(key)
        if not requests:
            return bound_node(pod)
        docs = [Document(self._store[BIND_REQUESTS][request], SOURCE) for request in sorted(requests)]
        return bound_node(pod, read_bind_requests(docs))


def _discard(index: dict[Any, dict[Key, None]], at: Any, key: Key) -> None:
    """Take a key out of an index, and the entry with its last key."""
    keys = index.get(at, {})
    keys.pop(key, None)
    if not keys:
        index.pop(at, None)
