"""`kind: Cluster` → nodes, running load and topology."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from adapters.files.schema import check_schema
from adapters.kubernetes.objects import Document, Fields, Part, shown
from adapters.kubernetes.quantity import QuantityError, parse_quantity
from solver.domain.accelerators import KNOWN_ACCELERATORS, Accelerators
from solver.domain.constraints import NO_SCHEDULE, Taint
from solver.domain.errors import InvalidRequest
from solver.domain.levels import (
    HOST,
    HOST_LABEL,
    MAX_LINK_SHARE,
    WELL_KNOWN_LABELS,
    Level,
    Tier,
    TopologySpec,
    well_known_name,
)
from solver.domain.pods import BoundPod
from solver.domain.resources import CPU, EPHEMERAL_STORAGE, GPU, MAX_AMOUNT, MEMORY, MILLI_GPU, PODS, Resources
from solver.domain.snapshot import NodeRecord

API_GROUP = "huddle.scheduler"
SCHEMA = "cluster.schema.json"

#: What a node has where its entry does not say: generous, so that only what is written limits a plan.
DEFAULT_CPU = "128"
DEFAULT_BYTES = "1Ti"
DEFAULT_PODS = 110
#: Most nodes one entry may make.
MAX_NODES = 1_000_000
#: Of a line rate, what transfers reach where nothing was measured.
LINE_SHARE = 0.75

_QUANTITIES = (
    (CPU, "cpu", DEFAULT_CPU, 1000),
    (MEMORY, "memory", DEFAULT_BYTES, 1),
    (EPHEMERAL_STORAGE, "ephemeralStorage", DEFAULT_BYTES, 1),
)
#: Level name → the label it takes when a topology names none: the plain Kubernetes one if there is one.
_LABELS = {name: label for label, name in reversed(WELL_KNOWN_LABELS.items())} | {
    name: label for label, name in WELL_KNOWN_LABELS.items() if label.startswith("topology.kubernetes.io/")
}


@dataclass(slots=True)
class OwnNodes:
    """What Cluster objects come to.

    load: pods that stand for GPUs taken already. accelerators: names of further resources that are devices.
    """

    nodes: list[NodeRecord] = field(default_factory=list)
    load: list[BoundPod] = field(default_factory=list)
    topologies: list[TopologySpec] = field(default_factory=list)
    accelerators: Accelerators = KNOWN_ACCELERATORS


@dataclass(slots=True)
class _Counters:
    """How many nodes of a prefix and domains of a label exist already."""

    nodes: dict[str, int] = field(default_factory=dict)
    domains: dict[str, int] = field(default_factory=dict)


def is_own_cluster(doc: Document) -> bool:
    """Whether a document is a Cluster object of this project."""
    return doc.kind == "Cluster" and doc.api_group in (API_GROUP, "")


def read_own_clusters(documents: Sequence[Document]) -> OwnNodes:
    """Nodes, load and topologies of Cluster objects; numbering of nodes and domains runs on over all entries.

    Raises InvalidRequest, in one line, for objects that break the schema or contradict themselves.
    """
    found, counters, names = OwnNodes(), _Counters(), set[str]()
    for doc in documents:
        check_schema(doc, SCHEMA)
        levels = _levels(doc)
        found.accelerators = _accelerators(doc, found.accelerators)
        if doc.has("spec.topology.levels"):
            found.topologies.append(_topology(doc, levels))
        for entry in doc.parts("spec.nodes"):
            for record in _records(entry, levels, counters):
                if record.name in names:
                    raise entry.refuse("prefix", f"node {record.name!r} exists already")
                names.add(record.name)
                found.nodes.append(record)
                if used := entry.whole("used", 0):
                    found.load.append(_load(entry, record, used))
    return found


def _accelerators(doc: Document, known: Accelerators) -> Accelerators:
    """What is known to be devices, and what this object adds."""
    try:
        return Accelerators(tuple(dict.fromkeys((*known.added, *doc.words("spec.accelerators")))))
    except InvalidRequest as error:
        raise doc.refuse("spec.accelerators", str(error).removeprefix("accelerators: ")) from error


def _levels(doc: Document) -> tuple[Level, ...]:
    """The declared levels, and where `per` uses a well-known one beside them, that one in its place.

    Without declared levels: all well-known ones, so that `per` may use them.
    """
    order = [name for name in dict.fromkeys(WELL_KNOWN_LABELS.values()) if name != HOST]
    if not doc.has("spec.topology.levels"):
        return tuple(Level(name, _LABELS[name]) for name in order)
    levels = [_level(entry) for entry in doc.parts("spec.topology.levels")]
    used = {name for entry in doc.parts("spec.nodes") for name in entry.mapping("per")}
    for name in order:
        if name in used and name not in {level.name for level in levels}:
            finer = set(order[order.index(name) :]) | {HOST}
            at = next((at for at, level in enumerate(levels) if level.name in finer), len(levels))
            levels.insert(at, Level(name, _LABELS[name]))
    return tuple(levels)


def _level(entry: Fields) -> Level:
    name = entry.text("name")
    label = entry.text("label", "") or _LABELS.get(name, "")
    if not label:
        raise entry.refuse("label", "is missing")
    if (name == HOST) != (label == HOST_LABEL):
        raise entry.refuse("label", f"level {HOST!r} and label {HOST_LABEL!r} belong together")
    if entry.has("gbps") and entry.has("lineGbps"):
        raise entry.refuse("lineGbps", "is for levels without gbps, which is what was measured")
    tier = _tier(entry) if entry.has("gbps") else None
    uplink, ratio = entry.number("uplinkGbps", None), entry.number("oversubscription", None)
    try:
        return Level(name, label, tier, (), uplink, ratio, entry.number("usedGbps", None))
    except InvalidRequest as error:
        raise entry.refuse("", str(error)) from error


def _tier(entry: Fields) -> Tier:
    return Tier(entry.number("gbps"), entry.number("setupUs"), entry.number("nodeGbps", None))


def _topology(doc: Document, levels: tuple[Level, ...]) -> TopologySpec:
    settings, root = doc.part("spec.topology"), doc.part("spec.topology.root")
    root_tier = _tier(root) if root.body else None
    words = [word for level in levels for word in (level.name, level.label)]
    known = [well_known_name(level.label) or "" for level in levels]
    named = tuple(
        replace(level, also=(word,)) if word and word not in words and known.count(word) == 1 else level
        for level, word in zip(levels, known, strict=True)
    )
    lines = {entry.text("name"): entry.number("lineGbps", None) for entry in doc.parts("spec.topology.levels")}
    try:
        spec = TopologySpec(
            doc.name,
            named,
            root_tier,
            settings.number("nodeGbps", None),
            settings.number("handoverMs", None),
            max_link_share=settings.number("maxLinkShare", MAX_LINK_SHARE),
        )
        return _with_lines(spec, lines)
    except InvalidRequest as error:
        raise doc.refuse("spec.topology.levels", str(error).removeprefix(f"Topology {doc.name}: ")) from error


def _with_lines(spec: TopologySpec, lines: Mapping[str, float | None]) -> TopologySpec:
    """The topology with tiers made of line rates; lines: level name → that of a GPU in GB/s, None = not stated."""
    levels = []
    for level, tier in zip(spec.levels, spec.tiers[1:], strict=True):
        line = lines.get(level.name)
        levels.append(level if line is None else replace(level, tier=replace(tier, gbps=LINE_SHARE * line)))
    return replace(spec, levels=tuple(levels))


def _records(entry: Part, levels: tuple[Level, ...], counters: _Counters) -> list[NodeRecord]:
    """The nodes of one entry."""
    prefix = entry.text("prefix")
    per, count = _per(entry, levels)
    labels = entry.texts("labels")
    if HOST_LABEL in labels:
        raise entry.refuse(f"labels[{HOST_LABEL}]", "is set by the node's own name")
    resources, taints = _resources(entry), _taints(entry)
    first = counters.nodes.get(prefix, 0)
    counters.nodes[prefix] = first + count
    bases = {level.label: (level.name, counters.domains.get(level.label, 0), share) for level, share in per}
    for level, share in per:
        if level.label in labels:
            raise entry.refuse(f"labels[{level.label}]", f"is set by per.{level.name} as well")
        counters.domains[level.label] = bases[level.label][1] + -(-count // share)
    return [
        NodeRecord(f"{prefix}{first + index}", resources, {**labels, **_domains(bases, index)}, taints)
        for index in range(count)
    ]


def _domains(bases: Mapping[str, tuple[str, int, int]], index: int) -> dict[str, str]:
    """Label → domain of the node at `index` of its entry; bases: label → level name, first domain, nodes in one."""
    return {label: f"{name}-{base + index // share}" for label, (name, base, share) in bases.items()}


def _per(entry: Part, levels: tuple[Level, ...]) -> tuple[list[tuple[Level, int]], int]:
    """Levels of `per` from coarse to fine, each with the nodes one of its domains holds; and the nodes in all.

    `per` says how many domains of a level lie in each domain of the next coarser one, `count` how many nodes in each
    of the finest.
    """
    wanted = entry.mapping("per")
    known = [level for level in levels if level.label != HOST_LABEL]
    for name in wanted:
        if name not in {level.name for level in known}:
            listed = ", ".join(level.name for level in known) or "none"
            raise entry.refuse(f"per.{name}", f"is not a level of the topology above the host ({listed})")
    found: list[tuple[Level, int]] = []
    nodes = entry.whole("count")
    for level in reversed([level for level in known if level.name in wanted]):
        found.insert(0, (level, nodes))
        nodes *= entry.whole(f"per.{level.name}")
    if nodes > MAX_NODES:
        raise entry.refuse("count", f"comes to {nodes} nodes with `per`, more than {MAX_NODES}")
    return found, nodes


def _resources(entry: Part) -> Resources:
    amounts = {GPU: entry.whole("gpus", 0) * MILLI_GPU, PODS: entry.whole("pods", DEFAULT_PODS)}
    for resource, name, default, scale in _QUANTITIES:
        amounts[resource] = _amount(entry, name, entry.body.get(name, default), scale)
    for name, value in entry.mapping("resources").items():
        amounts[name] = _amount(entry, f"resources[{name}]", value, 1)
    return Resources.of(amounts)


def _amount(entry: Part, name: str, value: object, scale: int) -> int:
    try:
        amount = int(parse_quantity(value) * scale)
    except QuantityError as error:
        raise entry.refuse(name, str(error)) from error
    if amount > MAX_AMOUNT:
        raise entry.refuse(name, f"{shown(value)} is too large")
    return amount


def _taints(entry: Part) -> tuple[Taint, ...]:
    return tuple(
        Taint(taint.text("key"), taint.text("value", ""), taint.text("effect", NO_SCHEDULE))
        for taint in entry.parts("taints")
    )


def _load(entry: Part, node: NodeRecord, used: int) -> BoundPod:
    if used * MILLI_GPU > node.allocatable[GPU]:
        raise entry.refuse("used", f"{used} is more than the {node.allocatable[GPU] // MILLI_GPU} GPUs of a node")
    return BoundPod(f"used/{node.name}", node.name, Resources.of({GPU: used * MILLI_GPU}))
