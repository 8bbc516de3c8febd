"""The rules: what must be true at every resource version, checked on everything that was seen, in order."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from support.audit.minimums import is_whole
from support.audit.sightings import GangSeen, Key, NodeSeen, PlacementSeen, PodSeen, Sighting


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule was broken. rule: one word. version: resource version at which it showed."""

    rule: str
    version: int
    subject: str
    message: str

    def __str__(self) -> str:
        return f"{self.rule} at {self.version}: {self.subject}: {self.message}"


@dataclass(frozen=True, slots=True)
class Outage:
    """The API server did not answer; nobody could change anything. Seconds, as in sightings."""

    from_s: float
    to_s: float

    def within(self, from_s: float, to_s: float) -> float:
        """Seconds it shares with a span."""
        return max(0.0, min(self.to_s, to_s) - max(self.from_s, from_s))


@dataclass(frozen=True, slots=True)
class Findings:
    """What came out. versions: resource versions judged. partial_s: longest that a gang was partial, in seconds.

    most_partial: gangs that were partial at a time. bindings: of members of gangs.
    """

    violations: tuple[Violation, ...]
    versions: int
    partial_s: float
    most_partial: int
    bindings: int


def judged(
    sightings: Iterable[Sighting],
    grace_s: float,
    end_s: float,
    outages: Sequence[Outage] = (),
    planned: bool = True,
    guarded: bool = False,
) -> Findings:
    """Judge everything that was seen.

    grace_s: longest that a gang may be partial, outages not counted. planned: whether members may only be bound where
    their Placement said before; it may say otherwise by now, while a pod that was let go earlier is on its way.
    guarded: whether other pods may not take what a Placement says somebody else is to have.
    """
    judge = _Judge(grace_s, outages, planned, guarded)
    ordered = sorted(sightings, key=lambda each: each.version)
    for sighting in ordered:
        judge.take(sighting)
    judge.end(end_s)
    versions = len({each.version for each in ordered})
    return Findings(tuple(judge.violations), versions, judge.longest_s, judge.most, judge.bindings)


class _Judge:
    def __init__(self, grace_s: float, outages: Sequence[Outage], planned: bool, guarded: bool) -> None:
        self.violations: list[Violation] = []
        self.longest_s, self.most, self.bindings = 0.0, 0, 0
        self._grace_s, self._outages, self._planned = grace_s, outages, planned
        self._guarded = guarded
        self._placements: dict[Key, PlacementSeen] = {}
        self._version = 0
        self._nodes: dict[str, NodeSeen] = {}
        self._pods: dict[Key, PodSeen] = {}
        self._gangs: dict[str, GangSeen] = {}
        self._seats: dict[str, set[str]] = {}
        self._use: dict[str, Counter[str]] = {}
        self._members: dict[str, dict[Key, PodSeen]] = {}
        self._partial: dict[str, tuple[int, float]] = {}

    def take(self, sighting: Sighting) -> None:
        self._version = sighting.version
        name = "/".join(part for part in sighting.key if part)
        match sighting.kind:
            case "nodes":
                touched = self._node(name, sighting.seen)
            case "pods":
                touched = self._pod(sighting.key, sighting.seen)
            case "gangs":
                touched = self._gang(name, sighting.seen)
            case _:
                touched = self._placement(sighting.key, sighting.seen)
        for gang in touched:
            self._look_at(gang, sighting.at_s)

    def end(self, end_s: float) -> None:
        for gang in tuple(self._partial):
            self._over(gang, end_s)

    def _node(self, name: str, seen: object) -> Iterable[str]:
        """Gangs that may have lost members, or got them back."""
        if isinstance(seen, NodeSeen):
            known = name in self._nodes
            self._nodes[name] = seen
            if known:
                return ()
        else:
            self._nodes.pop(name, None)
        return {pod.gang for pod in self._pods.values() if pod.node == name and pod.gang}

    def _gang(self, name: str, seen: object) -> Iterable[str]:
        if isinstance(seen, GangSeen):
            self._gangs[name] = seen
        else:
            self._gangs.pop(name, None)
        return (name,)

    def _placement(self, key: Key, seen: object) -> Iterable[str]:
        self._placements.pop(key, None)
        if isinstance(seen, PlacementSeen):
            self._placements[key] = seen
            for uid, node in seen.seats.items():
                self._seats.setdefault(uid, set()).add(node)
        return ()

    def _pod(self, key: Key, seen: object) -> Iterable[str]:
        before = self._pods.pop(key, None)
        now = seen if isinstance(seen, PodSeen) else None
        if before is not None:
            self._forget(key, before)
        if now is not None:
            self._pods[key] = now
            self._note(key, now)
            if _holds(now) and (before is None or before.uid != now.uid or not _holds(before)):
                self._bound(key, now)
        return {pod.gang for pod in (before, now) if pod is not None and pod.gang}

    def _forget(self, key: Key, pod: PodSeen) -> None:
        if _holds(pod):
            self._use[pod.node].subtract(pod.takes)
        if pod.gang:
            self._members[pod.gang].pop(key, None)

    def _note(self, key: Key, pod: PodSeen) -> None:
        if _holds(pod):
            self._use.setdefault(pod.node, Counter()).update(pod.takes)
        if pod.gang:
            self._members.setdefault(pod.gang, {})[key] = pod

    def _bound(self, key: Key, pod: PodSeen) -> None:
        """A pod has just come to a node: is there room for it, and was it meant to?"""
        name, node = "/".join(key), self._nodes.get(pod.node)
        if node is not None:
            for resource, amount in self._use[pod.node].items():
                room = node.room.get(resource, 0)
                if amount > room and pod.takes.get(resource, 0):
                    text = f"with {name} its pods take {amount / 1000:g} {resource} of {room / 1000:g}"
                    self._say("overcommit", pod.node, text)
        if pod.gang in self._gangs:
            self.bindings += 1
            if self._planned:
                self._was_planned(name, pod)
        elif self._guarded and node is not None:
            self._was_free(name, pod, node)

    def _was_free(self, name: str, pod: PodSeen, node: NodeSeen) -> None:
        """Whether what a pod of no gang takes was promised to a gang."""
        promised = Counter[str]()
        unbound = {each.uid: each for each in self._pods.values() if not each.node and not each.ended}
        for placement in self._placements.values():
            if placement.phase == "Bound":
                continue
            for uid, seat in placement.seats.items():
                if seat == pod.node and uid in unbound:
                    promised.update(unbound[uid].takes)
        for resource, amount in promised.items():
            used, room = self._use[pod.node][resource], node.room.get(resource, 0)
            if pod.takes.get(resource, 0) and used + amount > room:
                text = f"{pod.node}: {amount / 1000:g} {resource} promised, {used / 1000:g} of {room / 1000:g} taken"
                self._say("stolen", name, text)

    def _was_planned(self, name: str, pod: PodSeen) -> None:
        seats = self._seats.get(pod.uid, set())
        if pod.node not in seats:
            said = f"its Placement only ever said {', '.join(sorted(seats))}" if seats else "it never had a seat"
            self._say("unplanned", name, f"bound to {pod.node}, but {said}")

    def _look_at(self, gang: str, at_s: float) -> None:
        """Whether the gang is partial from now on, or not any more."""
        if not self._is_partial(gang):
            if gang in self._partial:
                self._over(gang, at_s)
        elif gang not in self._partial:
            self._partial[gang] = (self._version, at_s)
            self.most = max(self.most, len(self._partial))

    def _is_partial(self, gang: str) -> bool:
        seen = self._gangs.get(gang)
        members = self._members.get(gang, {}).values()
        roles = Counter(pod.role for pod in members if _holds(pod) and not pod.leaving and pod.node in self._nodes)
        return seen is not None and bool(roles) and not is_whole(seen.root, roles)

    def _over(self, gang: str, to_s: float) -> None:
        version, from_s = self._partial.pop(gang)
        lasted_s = to_s - from_s - sum(outage.within(from_s, to_s) for outage in self._outages)
        self.longest_s = max(self.longest_s, lasted_s)
        if lasted_s > self._grace_s:
            text = f"partial for {lasted_s:.1f} s since {version}, grace is {self._grace_s:g} s"
            self._say("partial", gang, text)

    def _say(self, rule: str, subject: str, message: str) -> None:
        self.violations.append(Violation(rule, self._version, subject, message))


def _holds(pod: PodSeen) -> bool:
    return bool(pod.node) and not pod.ended
