"""A gang: the tree of groups and roles that is placed all or nothing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from fractions import Fraction

from solver.domain.constraints import NodeConstraints, Toleration
from solver.domain.errors import InvalidRequest
from solver.domain.levels import NARROWEST
from solver.domain.resources import Resources

#: Most pods one gang may have.
MAX_PODS = 100_000
#: Most replicas the groups of one gang may have together, and most groups inside each other.
MAX_REPLICAS, MAX_DEPTH = 100_000, 64
#: Most requests a second one gang may serve.
MAX_RATE = 10**9

_Ends = frozenset[frozenset[str]]


class Kind(StrEnum):
    """What a role does in a disaggregated deployment."""

    ROUTER = "router"
    PREFILL = "prefill"
    DECODE = "decode"
    WORKER = "worker"
    OTHER = "other"


class Pattern(StrEnum):
    """Who talks to whom.

    all_to_all: every pair alike. nearest: every sender to the nearest receivers its proportion allows. collective: the
    pods of each replica of a multi-node group all at once, at the pace of the slowest link among them.
    """

    ALL_TO_ALL = "all_to_all"
    NEAREST = "nearest"
    COLLECTIVE = "collective"


@dataclass(frozen=True, slots=True)
class Pack:
    """Pack rule of a group; levels by name, alias or label key, None = no rule.

    required: all pods of one replica lie in one domain of this level. preferred: as narrow as possible from this
    level upward; nodes without the level are out, except with the word `narrowest` (TopologySpec.find_preferred).
    """

    required: str | None = None
    preferred: str | None = None


@dataclass(frozen=True, slots=True)
class Spread:
    """At most `max` pods of a role, or replicas of a group, in one domain of `level`."""

    level: str
    max: int

    def __post_init__(self) -> None:
        if self.max < 1:
            raise InvalidRequest(f"spread on level {self.level!r}: max {self.max} must be at least 1")


@dataclass(frozen=True, slots=True)
class Role:
    """Pods that are alike.

    replicas: pods in one replica of the group. min: of them, how many a kept replica needs; above `replicas` pods
    are missing. requests: of one pod. pods: names `namespace/pod` over all replicas of the enclosing groups,
    replica by replica; empty = named `<gang namespace>/<role>-<i>` by `Gang`.
    """

    name: str
    replicas: int
    min: int
    kind: Kind = Kind.OTHER
    requests: Resources = field(default_factory=Resources)
    constraints: NodeConstraints = field(default_factory=NodeConstraints)
    spread: tuple[Spread, ...] = ()
    pods: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.name:
            raise InvalidRequest("a role needs a name")
        if not 0 <= self.replicas <= MAX_PODS:
            raise InvalidRequest(f"role {self.name}: replicas {self.replicas} is out of range (0 to {MAX_PODS})")
        if not 0 <= self.min <= MAX_PODS:
            raise InvalidRequest(f"role {self.name}: min {self.min} is out of range (0 to {MAX_PODS})")


@dataclass(frozen=True, slots=True)
class Group:
    """A subtree that replicates as one.

    replicas, min_replicas: of this group inside one replica of its parent; it is kept with at least `min_replicas`
    replicas or has no pod. min: over the children of one replica (its placed pods plus its kept child groups);
    None = every role at its minimum and every child group kept; a role's own minimum always holds in a kept
    replica. multinode: the pods of one replica are ranks of one engine, so its GPUs send and receive together.
    """

    name: str
    roles: tuple[Role, ...] = ()
    groups: tuple["Group", ...] = ()
    replicas: int = 1
    min_replicas: int = 1
    min: int | None = None
    pack: Pack = Pack()
    spread: tuple[Spread, ...] = ()
    multinode: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.replicas <= MAX_PODS:
            raise InvalidRequest(f"group {self.name}: replicas {self.replicas} is out of range (1 to {MAX_PODS})")
        if not 1 <= self.min_replicas <= self.replicas:
            raise InvalidRequest(
                f"group {self.name}: min {self.min_replicas} is out of range (1 to replicas {self.replicas})"
            )
        if self.min is not None and self.min < 0:
            raise InvalidRequest(f"group {self.name}: min {self.min} must not be negative")
        if not self.roles and not self.groups:
            raise InvalidRequest(f"group {self.name} has no pods: neither roles nor groups")

    def walk(self) -> Iterator["Group"]:
        """The group and all groups below it, parents first, in declared order."""
        yield self
        for child in self.groups:
            yield from child.walk()


@dataclass(frozen=True, slots=True)
class Flow:
    """Traffic from one set of roles to another; one request uses one pair of pods, or of a collective one replica.

    senders, receivers: role names, equal sets or disjoint ones; of a collective equal, all roles of one multi-node
    group or of several, none of which has groups inside. bytes: of one transfer (an engine's GPUs send equal parts),
    of a collective what one rank sends. per_request: transfers, or collectives, of one request of the gang.
    """

    senders: tuple[str, ...]
    receivers: tuple[str, ...]
    bytes: int
    per_request: Fraction = Fraction(1)
    pattern: Pattern = Pattern.ALL_TO_ALL
    sender_name: str = ""
    receiver_name: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.bytes <= 10**15:
            raise InvalidRequest(f"flow {self}: bytes {self.bytes} is out of range (0 to 10^15)")
        if not 0 <= self.per_request <= 10**6:
            raise InvalidRequest(f"flow {self}: perRequest {self.per_request} is out of range (0 to 10^6)")
        common = set(self.senders) & set(self.receivers)
        if common and set(self.senders) != set(self.receivers):
            raise InvalidRequest(f"flow {self}: senders and receivers overlap without being the same roles")
        if common and self.pattern is Pattern.NEAREST:
            raise InvalidRequest(f"flow {self}: a role is always nearest to itself; use all_to_all")
        if self.pattern is Pattern.COLLECTIVE and set(self.senders) != set(self.receivers):
            raise InvalidRequest(f"flow {self}: a collective runs among the same roles, so both ends are alike")

    @property
    def source(self) -> str:
        """How answers call the senders."""
        return self.sender_name or "+".join(self.senders)

    @property
    def target(self) -> str:
        """How answers call the receivers."""
        return self.receiver_name or "+".join(self.receivers)

    def __str__(self) -> str:
        return f"{self.source} → {self.target}"


@dataclass(frozen=True, slots=True)
class Reach:
    """Every `level` domain with a sender holds a receiver and vice versa.

    ratio r: receivers_here · senders_total ≥ r · senders_here · receivers_total; 0 asks only for one.
    """

    senders: tuple[str, ...]
    receivers: tuple[str, ...]
    level: str
    ratio: Fraction = Fraction(0)

    def __post_init__(self) -> None:
        if not self.senders or not self.receivers:
            raise InvalidRequest(f"reach on level {self.level!r}: senders and receivers must not be empty")
        if not 0 <= self.ratio <= 1:
            raise InvalidRequest(f"reach on level {self.level!r}: ratio {self.ratio} is out of range (0 to 1)")

    def binds(self, flow: Flow) -> bool:
        """Whether `flow` runs between exactly these two sets of roles, either way round."""
        return {frozenset(self.senders), frozenset(self.receivers)} == {
            frozenset(flow.senders),
            frozenset(flow.receivers),
        }


@dataclass(frozen=True, slots=True)
class BoundMember:
    """A pod of the gang that already runs: it stays where it is."""

    pod: str
    node: str


@dataclass(frozen=True, slots=True)
class Gang:
    """Pods placed together or not at all.

    name: `namespace/name`. priority: higher first. queue: name or empty. topology: name of a TopologySpec or
    empty for the only one. running: bound members, only in groups that do not replicate. created: since when it
    waits, with its time zone; None = nobody knows. pod_priority: with which its pods meet nominated ones at their
    scheduler; None = `priority`. requests_per_second: what the whole gang serves, for the rule `bandwidth`; None = no
    such rule.
    Raises InvalidRequest for repeated role or pod names, a root that replicates, references to unknown roles, a
    collective of anything but whole multi-node groups, a gang without pods, a moment without a time zone, a rate
    outside 0 … 10⁹, more than MAX_PODS pods, MAX_REPLICAS replicas of groups or MAX_DEPTH levels of groups.
    """

    name: str
    root: Group
    priority: int = 0
    queue: str = ""
    topology: str = ""
    flows: tuple[Flow, ...] = ()
    reach: tuple[Reach, ...] = ()
    running: tuple[BoundMember, ...] = ()
    created: datetime | None = None
    pod_priority: int | None = None
    requests_per_second: Fraction | None = None
    _bound: frozenset[tuple[str, str]] = field(init=False, repr=False, compare=False)
    _binding: Mapping[_Ends, tuple[int, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.created is not None and self.created.tzinfo is None:
            raise InvalidRequest(f"gang {self.name}: created {self.created} has no time zone")
        check_tree(self.name, self.root, (*self.flows, *self.reach), self.requests_per_second)
        object.__setattr__(self, "root", _named(self.root, 1, self.namespace))
        object.__setattr__(self, "_bound", frozenset((member.pod, member.node) for member in self.running))
        object.__setattr__(self, "_binding", _by_ends(self.reach))
        pods = [pod for role in self.roles for pod in role.pods]
        _refuse_repeats(f"gang {self.name}: pod", pods)
        members = set(pods)
        _refuse_repeats(f"gang {self.name}: running pod", [member.pod for member in self.running])
        for member in self.running:
            if member.pod not in members:
                raise InvalidRequest(f"gang {self.name}: running pod {member.pod} belongs to no role")

    @property
    def namespace(self) -> str:
        """The part of the name before the slash."""
        return self.name.rpartition("/")[0] or "default"

    @property
    def room_priority(self) -> int:
        """Pods that are nominated with at least this priority keep their room from it."""
        return self.priority if self.pod_priority is None else self.pod_priority

    def runs(self, pod: str, node: str) -> bool:
        """Whether a pod bound to a node is a running member; equal names in other gangs are not."""
        return (pod, node) in self._bound

    def binding(self, flow: Flow) -> tuple[int, ...]:
        """Positions of the reach rules that bind a flow."""
        return self._binding.get(_ends(flow), ()) if self._binding else ()

    @property
    def hands_over(self) -> bool:
        """Whether anything goes from one engine to another: any flow but a collective."""
        return any(flow.pattern is not Pattern.COLLECTIVE for flow in self.flows)

    @property
    def roles(self) -> tuple[Role, ...]:
        """All roles, in declared order."""
        return tuple(role for group in self.root.walk() for role in group.roles)

    @property
    def level_words(self) -> tuple[str, ...]:
        """Words by which its rules call levels, each once; `narrowest` is none."""
        words: list[str | None] = []
        for group in self.root.walk():
            words += [group.pack.required, group.pack.preferred, *(spread.level for spread in group.spread)]
            words += [spread.level for role in group.roles for spread in role.spread]
        words += [reach.level for reach in self.reach]
        return tuple(dict.fromkeys(word for word in words if word and word != NARROWEST))

    @property
    def tolerations(self) -> frozenset[tuple[Toleration, ...]]:
        """What its roles tolerate, each different one once."""
        return frozenset(role.constraints.tolerations for role in self.roles)


def check_tree(name: str, root: Group, links: Sequence[Flow | Reach], rate: Fraction | None = None) -> None:
    """Raise InvalidRequest for what `Gang` refuses, but for what has to do with names of pods.

    name: of the gang. links: its flows and reach rules. rate: requests a second. Takes time by what is written, however
    many pods are declared.
    """
    _refuse_absurd(f"gang {name}", root)
    if root.replicas != 1:
        raise InvalidRequest(f"gang {name}: the root group cannot replicate")
    _check_rate(f"gang {name}", rate)
    pods = count_pods(root)
    if not pods:
        raise InvalidRequest(f"gang {name} has no pods")
    if pods > MAX_PODS:
        raise InvalidRequest(f"gang {name} has more than {MAX_PODS} pods")
    groups = list(root.walk())
    known = [role.name for group in groups for role in group.roles]
    _refuse_repeats(f"gang {name}: role", known)
    _refuse_repeats(f"gang {name}: group", [group.name for group in groups])
    there = set(known)
    for link in links:
        for end in (*link.senders, *link.receivers):
            if end not in there:
                raise InvalidRequest(f"gang {name}: role {end!r} of a flow or reach rule does not exist")
        if isinstance(link, Flow) and link.pattern is Pattern.COLLECTIVE:
            _check_collective(f"gang {name}: flow {link}", set(link.senders), root)


def count_pods(group: Group, copies: int = 1) -> int:
    """Pods of a group, which its parents repeat so often. Raises InvalidRequest for a role with more than MAX_PODS."""
    copies *= group.replicas
    pods = 0
    for role in group.roles:
        here = len(role.pods) or copies * role.replicas
        if copies * role.replicas > MAX_PODS:
            raise InvalidRequest(f"role {role.name}: more than {MAX_PODS} pods")
        pods += here
    return pods + sum(count_pods(child, copies) for child in group.groups)


def _ends(link: Flow | Reach) -> _Ends:
    """The two sets of roles between which a flow or rule is, either way round."""
    return frozenset((frozenset(link.senders), frozenset(link.receivers)))


def _by_ends(rules: tuple[Reach, ...]) -> Mapping[_Ends, tuple[int, ...]]:
    found: dict[_Ends, list[int]] = {}
    for position, rule in enumerate(rules):
        found.setdefault(_ends(rule), []).append(position)
    return {ends: tuple(positions) for ends, positions in found.items()}


def _refuse_absurd(where: str, root: Group) -> None:
    """Refuse more replicas or deeper groups than any gang has, before anything is made for each of them."""
    waiting, replicas = [(root, 1, 1)], 0
    while waiting:
        group, copies, depth = waiting.pop()
        copies *= group.replicas
        replicas += copies
        if depth > MAX_DEPTH:
            raise InvalidRequest(f"{where}: its groups are nested more than {MAX_DEPTH} deep")
        if replicas > MAX_REPLICAS:
            raise InvalidRequest(f"{where}: its groups have more than {MAX_REPLICAS} replicas")
        waiting += [(child, copies, depth + 1) for child in group.groups]


def _check_rate(where: str, rate: Fraction | None) -> None:
    if rate is not None and not 0 <= rate <= MAX_RATE:
        raise InvalidRequest(f"{where}: requestsPerSecond {float(rate):g} is out of range (0 to {MAX_RATE})")


def _named(group: Group, copies: int, namespace: str) -> Group:
    """The group with every role's pod names filled in; `copies` = replicas of everything above it."""
    copies *= group.replicas
    roles = []
    for role in group.roles:
        count = copies * role.replicas
        pods = role.pods or tuple(f"{namespace}/{role.name}-{index}" for index in range(count))
        if len(pods) != count:
            raise InvalidRequest(f"role {role.name}: {len(pods)} pod names for {count} pods")
        roles.append(
            Role(
                role.name,
                role.replicas,
                role.min,
                role.kind,
                role.requests,
                role.constraints,
                role.spread,
                pods,
            )
        )
    groups = tuple(_named(child, copies, namespace) for child in group.groups)
    return Group(
        group.name, tuple(roles), groups, group.replicas, group.min_replicas, group.min, group.pack,
        group.spread, group.multinode,
    )  # fmt: skip


def _check_collective(where: str, ends: set[str], root: Group) -> None:
    """A collective is of whole multi-node groups, so that each replica has one of its own."""
    for group in root.walk():
        if not any(role.name in ends for role in group.roles):
            continue
        if not group.multinode:
            raise InvalidRequest(f"{where}: a collective needs a multi-node group, and {group.name} is none")
        if group.groups:
            raise InvalidRequest(f"{where}: a collective cannot run in group {group.name}, which has groups inside")
        left_out = [role.name for role in group.roles if role.replicas and role.name not in ends]
        if left_out:
            raise InvalidRequest(
                f"{where}: a collective is of all roles of group {group.name}; {left_out[0]} is missing"
            )


def _refuse_repeats(what: str, names: list[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InvalidRequest(f"{what} {name!r} appears twice")
        seen.add(name)
