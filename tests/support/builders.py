"""Short builders of snapshots and gangs: `gang(role("prefill", 2), role("d", 4), flows=[flow("prefill", "d")])`.

Units are those people think in: whole GPUs, cores, GiB, GB. Level words are the plain labels `zone`, `rack`, `nvl`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

from solver.domain.constraints import (
    AntiAffinity,
    NodeConstraints,
    NodeSelectorTerm,
    Operator,
    PodSelector,
    Requirement,
    Taint,
    Toleration,
    VolumeNodes,
)
from solver.domain.gang import BoundMember, Flow, Gang, Group, Kind, Pack, Pattern, Reach, Role, Spread
from solver.domain.levels import Level, Tier, TopologySpec
from solver.domain.pods import BoundPod
from solver.domain.resources import CPU, GPU, MEMORY, PODS, Resources
from solver.domain.snapshot import NodeRecord, QueueSpec, Snapshot, build_snapshot

GB = 10**9
GIB = 2**30
PLAIN_LEVELS = ("zone", "rack", "nvl")

SpreadLike = tuple[str, int]


def amounts(
    gpus: float = 0, cpu: float = 0, memory: float = 0, pods: int = 0, more: Mapping[str, int] | None = None
) -> Resources:
    """Resources from GPUs, cores, GiB of memory, pod slots and `more` in raw units."""
    plain = {GPU: round(gpus * 1000), CPU: round(cpu * 1000), MEMORY: round(memory * GIB), PODS: pods}
    return Resources.of({**plain, **(more or {})})


def node(
    name: str,
    gpus: float = 8,
    cpu: float = 128,
    *,
    memory: float = 1024,
    pods: int = 110,
    taints: Sequence[Taint] = (),
    ready: bool = True,
    schedulable: bool = True,
    more: Mapping[str, int] | None = None,
    **labels: str | None,
) -> NodeRecord:
    """A node; `zone`, `rack`, `nvl` and any other keyword are its labels, None leaves the label away."""
    present = {key: value for key, value in labels.items() if value is not None}
    return NodeRecord(
        name, amounts(gpus, cpu, memory, pods, more), present, tuple(taints), ready=ready, schedulable=schedulable
    )


def topology(
    *names: str, tiers: Mapping[str, Tier] | None = None, name: str = "", node_gbps: float | None = None
) -> TopologySpec:
    """Levels coarse to fine whose names are their label keys; `tiers` by level name, `root` and `host` included."""
    own = tiers or {}
    levels = [Level(level, level, own.get(level)) for level in names]
    if "host" in own:
        levels.append(Level("host", "kubernetes.io/hostname", own["host"]))
    return TopologySpec(name, tuple(levels), own.get("root"), node_gbps)


def cluster(
    *nodes: NodeRecord,
    pods: Iterable[BoundPod] = (),
    queues: Iterable[QueueSpec] = (),
    levels: Sequence[str] | None = None,
    tiers: Mapping[str, Tier] | None = None,
    node_gbps: float | None = None,
    spec: TopologySpec | None = None,
) -> Snapshot:
    """A snapshot with one topology; `levels` None takes those of zone, rack, nvl that some node carries.

    spec: the topology itself, in place of what says how to make it.
    """
    if levels is None:
        levels = [level for level in PLAIN_LEVELS if any(level in record.labels for record in nodes)]
    return build_snapshot(nodes, pods, [spec or topology(*levels, tiers=tiers, node_gbps=node_gbps)], queues)


def bound(
    name: str,
    at: str,
    gpus: float = 0,
    cpu: float = 0,
    *,
    memory: float = 0,
    queue: str = "",
    gang: str = "",
    repels: Sequence[AntiAffinity] = (),
    nominated: int | None = None,
    **labels: str,
) -> BoundPod:
    """A pod outside the gang on node `at`; a name without a namespace gets `default/`.

    nominated: the priority with which it waits for the node instead of being bound to it.
    """
    full = name if "/" in name else f"default/{name}"
    requests = amounts(gpus, cpu, memory)
    return BoundPod(full, at, requests, labels, tuple(repels), queue, gang, nominated_priority=nominated)


def queue(name: str, parent: str = "", **limits: int) -> QueueSpec:
    """A queue with limits in raw units (`gpu` and `cpu` in thousandths)."""
    return QueueSpec(name, limits, parent)


def apart(topology_key: str, **labels: str) -> AntiAffinity:
    """Anti-affinity against pods of any namespace that carry all `labels`."""
    wanted = tuple(Requirement(key, Operator.IN, (value,)) for key, value in labels.items())
    return AntiAffinity(topology_key, PodSelector(wanted))


def on_nodes(*names: str) -> NodeSelectorTerm:
    """Affinity to the named nodes."""
    return NodeSelectorTerm(names=(Requirement("metadata.name", Operator.IN, names),))


def constraints(
    *,
    affinity: Sequence[NodeSelectorTerm] = (),
    tolerations: Sequence[Toleration] = (),
    anti_affinity: Sequence[AntiAffinity] = (),
    labels: Mapping[str, str] | None = None,
    namespace: str = "default",
    volumes: Sequence[VolumeNodes] = (),
    **selector: str,
) -> NodeConstraints:
    """Node constraints; every other keyword is a label the node must carry."""
    return NodeConstraints(
        selector=tuple(selector.items()),
        affinity=tuple(affinity),
        tolerations=tuple(tolerations),
        anti_affinity=tuple(anti_affinity),
        namespace=namespace,
        labels=tuple((labels or {}).items()),
        volumes=tuple(volumes),
    )


def role(
    name: str,
    replicas: int = 1,
    gpus: float = 1,
    cpu: float = 0,
    *,
    min: int | None = None,  # noqa: A002 - the word of the domain
    memory: float = 0,
    more: Mapping[str, int] | None = None,
    kind: Kind | None = None,
    where: NodeConstraints | None = None,
    spread: Sequence[SpreadLike] = (),
    pods: Sequence[str] = (),
) -> Role:
    """A role; `min` None needs every pod, `kind` None follows the name, `spread` is a list of (level, max)."""
    if kind is None:
        kind = next((known for known in Kind if name.startswith(known.value)), Kind.OTHER)
    return Role(
        name,
        replicas,
        replicas if min is None else min,
        kind,
        amounts(gpus, cpu, memory, more=more),
        where or NodeConstraints(),
        _spreads(spread),
        tuple(pods),
    )


def group(
    name: str,
    *children: Role | Group,
    replicas: int = 1,
    min_replicas: int | None = None,
    min: int | None = None,  # noqa: A002 - the word of the domain
    required: str | None = None,
    preferred: str | None = None,
    spread: Sequence[SpreadLike] = (),
    multinode: bool = False,
) -> Group:
    """A group of roles and groups; `min_replicas` None needs every replica."""
    return Group(
        name,
        tuple(child for child in children if isinstance(child, Role)),
        tuple(child for child in children if isinstance(child, Group)),
        replicas,
        replicas if min_replicas is None else min_replicas,
        min,
        Pack(required, preferred),
        _spreads(spread),
        multinode,
    )


def gang(
    *children: Role | Group,
    name: str = "default/llama",
    flows: Sequence[Flow] = (),
    reach: Sequence[Reach] = (),
    queue: str = "",
    running: Mapping[str, str] | None = None,
    rps: Fraction | int | str | None = None,
    min: int | None = None,  # noqa: A002 - the word of the domain
    required: str | None = None,
    preferred: str | None = None,
    spread: Sequence[SpreadLike] = (),
) -> Gang:
    """A gang whose root group `root` holds `children`; `running` is pod → node (see `with_running`)."""
    root = group("root", *children, min=min, required=required, preferred=preferred, spread=spread)
    members = tuple(BoundMember(pod, at) for pod, at in (running or {}).items())
    return Gang(
        name,
        root,
        queue=queue,
        flows=tuple(flows),
        reach=tuple(reach),
        running=members,
        requests_per_second=None if rps is None else Fraction(rps),
    )


def with_running(snapshot: Snapshot, waiting: Gang, running: Mapping[str, str]) -> tuple[Snapshot, Gang]:
    """The same cluster and gang with pods of the gang already bound: they hold capacity and are its members."""
    requests = {pod: each.requests for each in waiting.roles for pod in each.pods}
    labels = {pod: dict(each.constraints.labels) for each in waiting.roles for pod in each.pods}
    pods = [
        BoundPod(pod, at, requests[pod], labels[pod], queue=waiting.queue, gang=waiting.name)
        for pod, at in running.items()
    ]
    members = tuple(BoundMember(pod, at) for pod, at in running.items())
    return snapshot.with_pods(pods), replace(waiting, running=members)


def flow(
    senders: str,
    receivers: str,
    gb: float = 1,
    *,
    per_request: Fraction | int | str = 1,
    nearest: bool = False,
    collective: bool = False,
    size: int | None = None,
) -> Flow:
    """Traffic between roles, several joined by `+`; `gb` in 10⁹ bytes, or `size` in bytes."""
    return Flow(
        tuple(senders.split("+")),
        tuple(receivers.split("+")),
        round(gb * GB) if size is None else size,
        Fraction(per_request),
        Pattern.NEAREST if nearest else Pattern.COLLECTIVE if collective else Pattern.ALL_TO_ALL,
    )


def reach(senders: str, receivers: str, level: str, ratio: Fraction | int | str = 0) -> Reach:
    """A reach rule between roles, several joined by `+`."""
    return Reach(tuple(senders.split("+")), tuple(receivers.split("+")), level, Fraction(ratio))


def _spreads(pairs: Sequence[SpreadLike]) -> tuple[Spread, ...]:
    return tuple(Spread(level, most) for level, most in pairs)
