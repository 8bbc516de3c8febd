"""Cluster states that the service holds: snapshots, the changes since, and the promises on top of them."""

import math
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from solver.domain.changes import Change, PodBound
from solver.domain.columns import sharing
from solver.domain.editing import Edited, Editing, PodNames
from solver.domain.errors import InvalidRequest
from solver.domain.node_changes import with_resources
from solver.domain.pods import BoundPod
from solver.domain.snapshot import Snapshot
from solver.ledger import Promise
from solver.service.config import Limits
from solver.service.errors import Full, InvalidField, NotFound
from solver.service.held import Applied, Cause, ClusterDescription, Held, Needed, View, unknown_cluster
from solver.service.ledger_clock import wall_ms
from solver.service.promised import PromisedPods
from solver.service.recorder import Recorder

#: Told the cluster and `namespace/pod` → node of promised pods that were seen bound. Called without any lock held; must
#: not raise. What it does not pass on to the promises is told again with the next snapshot.
SeenHook = Callable[[str, Mapping[str, str]], None]

#: Snapshots of one version that are kept for gangs which are planned anew; each has free amounts of its own.
_MOST_IGNORING = 16


@dataclass(frozen=True)
class _Shown:
    """Everything that readers see, swapped as one.

    snapshot: with the pods held for promises, which are in `held` by uid. promised_pods: with those whose node is
    missing. arrived_s, changed_s: when the snapshot, and the last snapshot or group, came. ignoring: the same without
    what is held for some gangs, as far as it was asked for lately.
    """

    base: str
    sequence: int
    snapshot: Snapshot
    held: Mapping[str, BoundPod]
    promised_pods: int
    arrived_s: float
    changed_s: float
    ignoring: dict[frozenset[str], Snapshot] = field(default_factory=dict)

    @cached_property
    def gangs(self) -> frozenset[str]:
        """Gangs that something is held for."""
        return frozenset(pod.gang for pod in self.held.values())

    @property
    def pods(self) -> int:
        """Pods that really are there."""
        return len(self.snapshot.pods) - len(self.held)

    def without(self, gangs: frozenset[str]) -> Snapshot:
        """The snapshot without what is held for these gangs."""
        found = self.ignoring.get(gangs)
        if found is None:
            own = [pod for pod in self.held.values() if pod.gang in gangs]
            found = self.snapshot.with_changes((), own).as_version(self.snapshot.version)
            if len(self.ignoring) >= _MOST_IGNORING:
                self.ignoring.clear()
            self.ignoring[gangs] = found
        return found


class HeldCluster:
    """One cluster. Any thread may call anything; readers never wait for writers. Its versions come after `version`."""

    def __init__(
        self,
        name: str,
        limits: Limits | None = None,
        on_seen: SeenHook | None = None,
        recorder: Recorder | None = None,
        clock: Callable[[], float] = time.monotonic,
        version: int = 0,
    ) -> None:
        self.name = name
        self._limits, self._recorder = limits or Limits(), recorder or Recorder()
        self._on_seen, self._clock = on_seen, clock
        self._lock = threading.Lock()  # of writers
        self._version = version
        self._names = PodNames()
        self._promised = PromisedPods()
        self._shown: _Shown | None = None
        self._idle_limit_s = math.inf
        self._used_s = clock()

    @property
    def is_idle(self) -> bool:
        """Whether nobody has used it for longer than its sender wants it to be kept."""
        return self._clock() - self._used_s > self._idle_limit_s

    @property
    def is_held(self) -> bool:
        """Whether a snapshot has arrived."""
        return self._shown is not None

    def put(self, base: str, snapshot: Snapshot, idle_limit_s: float = math.inf) -> Held:
        """Hold this snapshot from now on, with every promise on top of it that its nodes allow.

        idle_limit_s: `is_idle` after so long without a change or a view.
        """
        names, now_s = PodNames(snapshot.pods), self._clock()
        with self._lock:
            if self._shown is not None:
                snapshot = sharing(snapshot, self._shown.snapshot)
            self._see(_of_names(self._promised.names(), names, snapshot))
            full, held = self._settled(snapshot, {})
            self._names, self._idle_limit_s, self._used_s = names, idle_limit_s, now_s
            shown = self._swap(_Shown(base, 0, full, held, len(self._promised), now_s, now_s))
            untold = self._promised.untold()
        self._tell(untold)
        return Held(shown.snapshot.version, len(snapshot.nodes), shown.pods)

    def apply(self, base: str, sequence: int, changes: Sequence[Change]) -> Applied | Needed:
        """Change the state by one group, wholly or not at all. A group that is in it already changes nothing.

        Raises InvalidField for a sequence below 1, and when the state would exceed the limits.
        """
        if sequence < 1:
            raise InvalidField("sequence", f"{sequence} must be at least 1")
        self._used_s = self._clock()
        with self._lock:
            shown = self._shown
            if shown is None:
                return unknown_cluster(self.name)
            if base != shown.base:
                return Needed(Cause.UNKNOWN_BASE, f"the state has base {shown.base!r}, not {base!r}")
            if sequence <= shown.sequence:
                return Applied(shown.snapshot.version)
            if sequence > shown.sequence + 1:
                problem = f"group {shown.sequence + 1} is missing before group {sequence}"
                return Needed(Cause.GAP, problem, shown.sequence)
            try:
                edited = _edited(shown.snapshot, self._names, changes)
            except InvalidRequest as error:
                return Needed(Cause.CONTRADICTION, str(error), shown.sequence)
            self._refuse_too_many(edited.snapshot, shown.snapshot)
            seen = self._see(change.pod for change in changes if isinstance(change, PodBound))
            snapshot, held = edited.snapshot, shown.held
            if seen or edited.nodes_changed:
                snapshot, held = self._settled(snapshot, held)
            self._names.update(edited.added, edited.gone)
            shown = self._swap(
                _Shown(base, sequence, snapshot, held, len(self._promised), shown.arrived_s, self._clock())
            )
        self._tell(seen)
        return Applied(shown.snapshot.version)

    def view(self, ignoring: Collection[str] = ()) -> View:
        """The state with every promised pod that is not yet seen, but for those promised to the gangs `ignoring`.

        Raises NotFound before the first snapshot.
        """
        shown = self._known()
        self._used_s = self._clock()
        version = shown.snapshot.version
        if not shown.held or not ignoring:
            return View(version, shown.snapshot)
        gangs = shown.gangs.intersection(ignoring)
        if not gangs:
            return View(version, shown.snapshot)
        return View(version, shown.without(gangs))

    def bound(self, names: Iterable[str]) -> list[BoundPod]:
        """Pods of these names that are really there, not only promised. Raises NotFound before the first snapshot."""
        with self._lock:
            found = _of_names(names, self._names, self._known().snapshot)
        return [pod for pod in found if not pod.is_nominated]

    def promise(self, changed: Iterable[Promise]) -> None:
        """Take promises as they are now; what is known already, or older, changes nothing."""
        with self._lock:
            news = [promise for promise in changed if self._promised.take(promise)]
            shown = self._shown
            if not news or shown is None:
                return
            names = {pod.name for promise in news for pod in promise.held() if self._promised.awaits(pod.name)}
            seen = self._see(_of_names(names, self._names, shown.snapshot))
            snapshot, held = self._settled(shown.snapshot, shown.held)
            count = len(self._promised)
            self._swap(_Shown(shown.base, shown.sequence, snapshot, held, count, shown.arrived_s, shown.changed_s))
        self._tell(seen)

    def describe(self) -> ClusterDescription:
        """What is held. Raises NotFound before the first snapshot."""
        shown, now_s = self._known(), self._clock()
        return ClusterDescription(
            name=self.name,
            base=shown.base,
            sequence=shown.sequence,
            version=shown.snapshot.version,
            nodes=len(shown.snapshot.nodes),
            pods=shown.pods,
            promised_pods=shown.promised_pods,
            snapshot_age_s=max(0.0, now_s - shown.arrived_s),
            age_s=max(0.0, now_s - shown.changed_s),
            queues=len(shown.snapshot.queues),
            topologies=tuple(sorted(shown.snapshot.topologies)),
        )

    def _known(self) -> _Shown:
        if self._shown is None:
            raise NotFound(f"no snapshot of cluster {self.name!r} is held")
        return self._shown

    def _refuse_too_many(self, later: Snapshot, before: Snapshot) -> None:
        sizes = (
            ("nodes", len(before.nodes), len(later.nodes), self._limits.max_nodes),
            ("pods", len(before.pods), len(later.pods), self._limits.max_bound_pods),
        )
        for what, size_before, size, most in sizes:
            if size > max(most, size_before):
                raise InvalidField("changes", f"{size} {what} are more than the limit of {most}")

    def _see(self, pods: Iterable[BoundPod]) -> Mapping[str, str]:
        """Those of `pods` that were promised, name → node; nothing is held for them any more."""
        seen = {pod.name: pod.node for pod in pods if self._promised.awaits(pod.name) and not pod.is_nominated}
        self._promised.see(seen)
        return seen

    def _settled(self, snapshot: Snapshot, held: Mapping[str, BoundPod]) -> tuple[Snapshot, Mapping[str, BoundPod]]:
        """The snapshot with what is now to be held, as far as its nodes exist, and that.

        held: what it held before, some of which may have gone with its node.
        """
        nodes = snapshot.node_idx
        wanted = {uid: pod for uid, pod in self._promised.waiting().items() if pod.node in nodes}
        there = {uid: pod for uid, pod in held.items() if snapshot.pods.get(uid) is not None}
        gone = [pod for uid, pod in there.items() if wanted.get(uid) != pod]
        added = [pod for uid, pod in wanted.items() if there.get(uid) != pod]
        if not gone and not added:
            return snapshot, wanted
        return with_resources(snapshot, (), added).with_changes(added, gone), wanted

    def _swap(self, shown: _Shown) -> _Shown:
        """Show this from now on; under a new version, if anything in it is new."""
        if self._shown is None or shown.snapshot is not self._shown.snapshot:
            self._version += 1
            shown = replace(shown, snapshot=shown.snapshot.as_version(self._version))
        self._shown = shown
        self._recorder.state(self.name, self._version)
        return shown

    def _tell(self, seen: Mapping[str, str]) -> None:
        if seen and self._on_seen is not None:
            self._on_seen(self.name, seen)


def _edited(snapshot: Snapshot, names: PodNames, changes: Sequence[Change]) -> Edited:
    editing = Editing(snapshot, names)
    for at, change in enumerate(changes):
        try:
            editing.apply(change)
        except InvalidRequest as error:
            raise InvalidRequest(f"changes[{at}]: {error}") from error
    return editing.result()


def _of_names(wanted: Iterable[str], names: PodNames, snapshot: Snapshot) -> list[BoundPod]:
    """Pods of the snapshot that have these names."""
    found = (snapshot.pods.get(key) for name in wanted for key in names.keys(name))
    return [pod for pod in found if pod is not None]


class Clusters:
    """Held clusters by name. Any thread may call anything.

    epoch_ms: versions of a new cluster come after what this says then. With the machine's clock, versions that clients
    remember from before a restart are older than all that come after it.
    """

    def __init__(
        self, limits: Limits | None = None, recorder: Recorder | None = None, epoch_ms: Callable[[], int] = wall_ms
    ) -> None:
        self._limits, self._recorder, self._epoch_ms = limits or Limits(), recorder, epoch_ms
        self._lock = threading.Lock()  # of who makes clusters
        self._clusters: dict[str, HeldCluster] = {}
        self._new_hooks: list[Callable[[HeldCluster], None]] = []
        self._drop_hooks: list[Callable[[HeldCluster], None]] = []
        self._seen_hooks: list[SeenHook] = []

    def on_new(self, hook: Callable[[HeldCluster], None]) -> None:
        """Call `hook` with every new cluster before anybody can find it; when it raises, the cluster is not made.

        It must not ask for clusters itself.
        """
        self._new_hooks.append(hook)

    def on_drop(self, hook: Callable[[HeldCluster], None]) -> None:
        """Call `hook` with every cluster that is forgotten; it must not ask for clusters itself."""
        self._drop_hooks.append(hook)

    def on_seen(self, hook: SeenHook) -> None:
        """Call `hook` with promised pods that are seen bound, in any cluster."""
        self._seen_hooks.append(hook)

    def get(self, name: str) -> HeldCluster:
        """A cluster that holds a snapshot. Raises NotFound."""
        cluster = self._clusters.get(name)
        if cluster is None or not cluster.is_held:
            raise NotFound(f"no snapshot of cluster {name!r} is held")
        return cluster

    def of(self, name: str) -> HeldCluster:
        """The cluster of this name, made if there is none; those that are idle are forgotten then. Raises Full."""
        with self._lock:
            cluster = self._clusters.get(name)
            if cluster is None:
                for idle in [each.name for each in self._clusters.values() if each.is_idle]:
                    self._forget(idle)
                if len(self._clusters) >= self._limits.max_clusters:
                    raise Full(f"{len(self._clusters)} clusters are held, which is the limit")
                cluster = HeldCluster(name, self._limits, self._seen, self._recorder, version=self._epoch_ms())
                for hook in self._new_hooks:
                    hook(cluster)
                self._clusters[name] = cluster
            return cluster

    def drop(self, name: str) -> None:
        """Forget a cluster; a later snapshot of this name makes a new one. Unknown names are no error."""
        with self._lock:
            self._forget(name)

    def names(self) -> list[str]:
        """Names of the clusters that hold a snapshot, sorted."""
        return sorted(name for name, cluster in list(self._clusters.items()) if cluster.is_held)

    def _forget(self, name: str) -> None:
        dropped = self._clusters.pop(name, None)
        if dropped is not None:
            if self._recorder is not None:
                self._recorder.dropped(name)
            for hook in self._drop_hooks:
                hook(dropped)

    def _seen(self, cluster: str, where: Mapping[str, str]) -> None:
        for hook in self._seen_hooks:
            hook(cluster, where)
