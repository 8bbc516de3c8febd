"""The pods that hold capacity, as an immutable collection of which changes share what stays."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from solver.domain.constraints import AntiAffinity
from solver.domain.errors import InvalidRequest
from solver.domain.resources import Resources

#: So many changes are kept beside the shared part before both become one.
_FOLD = 512


@dataclass(frozen=True, slots=True)
class BoundPod:
    """A pod that holds capacity: bound, neither succeeded nor failed, whoever scheduled it.

    name: `namespace/pod`. queue: the queue whose limit it uses, or empty. gang: `namespace/name` or empty. uid: its
    identity, or empty where only its name, node and gang tell it apart. nominated_priority: None for a pod that is
    bound; else it waits and is only nominated to its node, where it holds room against gangs of at most this priority.
    """

    name: str
    node: str
    requests: Resources = field(default_factory=Resources)
    labels: Mapping[str, str] = field(default_factory=dict)
    anti_affinity: tuple[AntiAffinity, ...] = ()
    queue: str = ""
    gang: str = ""
    uid: str = ""
    nominated_priority: int | None = None

    @property
    def is_nominated(self) -> bool:
        """Whether it waits for its node instead of being bound to it."""
        return self.nominated_priority is not None

    @property
    def namespace(self) -> str:
        """The part of the name before the slash."""
        return self.name.partition("/")[0]

    @property
    def key(self) -> "PodKey":
        """What tells it apart from all other pods."""
        return self.uid or (self.name, self.node, self.gang)


PodKey = str | tuple[str, str, str]


class Pods(Collection[BoundPod]):
    """Pods by key. A change costs as much as the last few hundred changes, not as many as there are pods."""

    __slots__ = ("_later", "_shared", "_size")

    def __init__(self, pods: Iterable[BoundPod] = ()) -> None:
        """Raises InvalidRequest for a repeated pod."""
        self._later: Mapping[PodKey, BoundPod | None] = {}
        shared: dict[PodKey, BoundPod] = {}
        for pod in pods:
            if pod.key in shared:
                raise InvalidRequest(f"Pod {pod.name} on node {pod.node} appears twice")
            shared[pod.key] = pod
        self._shared: Mapping[PodKey, BoundPod] = shared
        self._size = len(shared)

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[BoundPod]:
        later = self._later
        if not later:
            yield from self._shared.values()
            return
        for key, pod in self._shared.items():
            if key not in later:
                yield pod
        yield from (pod for pod in later.values() if pod is not None)

    def __contains__(self, pod: object) -> bool:
        return isinstance(pod, BoundPod) and self.get(pod.key) == pod

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Pods):
            return NotImplemented
        return len(self) == len(other) and all(pod in other for pod in self)

    __hash__ = None  # type: ignore[assignment]  # as other collections that compare by content

    def get(self, key: PodKey) -> BoundPod | None:
        """The pod with this key, or None."""
        return self._later[key] if key in self._later else self._shared.get(key)

    def changed(self, added: Iterable[BoundPod], gone: Iterable[BoundPod]) -> "Pods":
        """The collection without `gone` and then with `added`.

        Raises InvalidRequest when a pod to go is not there or a pod to come already is.
        """
        later = dict(self._later)
        found = Pods()
        found._shared, found._later, found._size = self._shared, later, self._size
        for pod in gone:
            if found.get(pod.key) is None:
                raise InvalidRequest(f"Pod {pod.name} on node {pod.node} is not there")
            later[pod.key] = None
            found._size -= 1
        for pod in added:
            if found.get(pod.key) is not None:
                raise InvalidRequest(f"Pod {pod.name} on node {pod.node} appears twice")
            later.pop(pod.key, None)
            later[pod.key] = pod
            found._size += 1
        if len(later) > _FOLD:
            found._shared, found._later = found._folded(), {}
        return found

    def difference(self, later: "Pods") -> tuple[list[BoundPod], list[BoundPod]]:
        """Pods of which `later` has no equal, and those that only it has; one that changed is in both.

        Costs as much as the last few hundred changes where both share what was before, else one pass over the keys.
        """
        if self._shared is later._shared:
            keys = self._later.keys() | later._later.keys()
        else:
            keys = self._keys() | later._keys()
        gone, added = [], []
        for key in keys:
            one, other = self.get(key), later.get(key)
            if one is other or one == other:
                continue
            if one is not None:
                gone.append(one)
            if other is not None:
                added.append(other)
        return gone, added

    def _keys(self) -> set[PodKey]:
        return self._shared.keys() | self._later.keys()

    def _folded(self) -> dict[PodKey, BoundPod]:
        """Everything in one dictionary, in the order of iteration."""
        whole = dict(self._shared)
        for key, pod in self._later.items():
            whole.pop(key, None)
            if pod is not None:
                whole[key] = pod
        return whole
