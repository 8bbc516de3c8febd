"""The cases every benchmark shares: synthetic sites as columns, and standing gangs that register themselves.

Sites are built straight as columns, 100,000 nodes in about two seconds, and are the same for the same seed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from adapters.manifests.models import DEFAULT_MODEL, kv_bytes_per_token, named_model
from solver.domain.gang import Flow, Gang, Group, Kind, Pack, Role
from solver.domain.levels import HOST_LABEL, Level, TopologySpec
from solver.domain.plan import GangPlan
from solver.domain.pods import BoundPod, Pods
from solver.domain.resources import CPU, EPHEMERAL_STORAGE, GPU, MEMORY, MILLI_GPU, PODS, Resources
from solver.domain.snapshot import Codes, Column, Ints, Snapshot

GIB = 2**30
ZONE, BLOCK, RACK = (f"topology.kubernetes.io/{level}" for level in ("zone", "block", "rack"))
TOPOLOGY = TopologySpec("site", (Level("zone", ZONE), Level("block", BLOCK), Level("rack", RACK)))
RESOURCES = (GPU, CPU, MEMORY, PODS, EPHEMERAL_STORAGE)
#: One 8-GPU node: GPUs and cores in thousandths, bytes, pods, bytes.
NODE = (8 * MILLI_GPU, 192_000, 2048 * GIB, 110, 3500 * GIB)
#: What comes with each GPU of a pod: thousandths of a core, bytes.
CPU_PER_GPU, MEMORY_PER_GPU = 8_000, 64 * GIB
PROMPT_TOKENS = 4000
ROUTER_BYTES = 64 * 1024


@dataclass(frozen=True)
class Layout:
    """A regular tree. rack: nodes in a rack; block: racks in a block; zone: blocks in a zone."""

    rack: int
    block: int
    zone: int


#: What a rack may look like: 16 nodes on one switch pair, or 4 nodes by power.
LAYOUTS = {16: Layout(16, 8, 16), 4: Layout(4, 8, 32)}


@dataclass(frozen=True)
class Site:
    """How a site is made. load: `loaded` (uneven racks) or `fragmented` (gaps everywhere); used: share of its GPUs."""

    nodes: int
    load: str = "loaded"
    rack: int = 16
    seed: int = 1
    used: float = 0.65

    @property
    def name(self) -> str:
        """What tables call it."""
        return f"{self.nodes} nodes, {self.load}, racks of {self.rack}, seed {self.seed}"


def build_site(site: Site) -> Snapshot:
    """The snapshot of a site: 8-GPU nodes in racks, blocks and zones, with other workloads as bound pods."""
    chance = np.random.default_rng([site.seed, site.nodes, site.rack, len(site.load)])
    gpus = np.clip(_LOADS[site.load](site, chance), 0, 8)
    names = tuple(f"n{number:06d}" for number in range(1, site.nodes + 1))
    allocatable = np.tile(np.array(NODE, dtype=np.int64), (site.nodes, 1))
    pods = _other_pods(names, gpus, chance)
    held = np.zeros_like(allocatable)
    held[:, 0] = gpus * MILLI_GPU
    held[:, 1], held[:, 2] = gpus * CPU_PER_GPU, gpus * MEMORY_PER_GPU
    held[:, 3] = np.bincount([row for row, _ in pods], minlength=site.nodes)
    everywhere = np.ones(site.nodes, dtype=np.bool_)
    columns = (allocatable, allocatable - held, everywhere)
    for column in columns:
        column.flags.writeable = False
    return Snapshot(
        version=0,
        nodes=names,
        resources=RESOURCES,
        allocatable=columns[0],
        free=columns[1],
        ready=everywhere,
        schedulable=everywhere,
        labels=MappingProxyType(_labels(site, names)),
        taint_codes=np.zeros(site.nodes, dtype=np.int32),
        taint_sets=((),),
        pods=Pods(pod for _, pod in pods),
        topologies=MappingProxyType({TOPOLOGY.name: TOPOLOGY}),
    )


def _loaded(site: Site, chance: np.random.Generator) -> Ints:
    """Used GPUs by node: each rack draws its load; four nodes in ten are taken whole or not at all."""
    racks = -(-site.nodes // site.rack)
    shape = (4 * site.used + 0.2, 4 * (1 - site.used) + 0.2)
    load = np.repeat(chance.beta(*shape, racks), site.rack)[: site.nodes]
    whole = chance.random(site.nodes) < 0.4
    full = chance.random(site.nodes) < load
    part = np.floor(8 * load + chance.random(site.nodes))
    return np.where(whole, np.where(full, 8, 0), part).astype(np.int64)


def _fragmented(site: Site, chance: np.random.Generator) -> Ints:
    """Used GPUs by node: gaps of every size everywhere, one node in eight is empty."""
    part = chance.binomial(8, min(1.0, site.used * 8 / 7), site.nodes)
    return np.where(chance.random(site.nodes) < 1 / 8, 0, part).astype(np.int64)


_LOADS: Mapping[str, Callable[[Site, np.random.Generator], Ints]] = {"loaded": _loaded, "fragmented": _fragmented}


def _labels(site: Site, names: tuple[str, ...]) -> dict[str, Column]:
    layout, node = LAYOUTS[site.rack], np.arange(site.nodes, dtype=np.int32)
    racks = node // layout.rack
    blocks = racks // layout.block
    zones = blocks // layout.zone
    levels: dict[str, tuple[str, Codes]] = {RACK: ("r", racks), BLOCK: ("b", blocks), ZONE: ("z", zones)}
    found = {HOST_LABEL: Column(node, names)}
    for key, (prefix, codes) in levels.items():
        found[key] = Column(codes, tuple(f"{prefix}{number:05d}" for number in range(int(codes[-1]) + 1)))
    return found


def _other_pods(names: Sequence[str], gpus: Ints, chance: np.random.Generator) -> list[tuple[int, BoundPod]]:
    """(node, pod) of other tenants: a node's used GPUs as pods of 8, 4, 2 and 1."""
    asks = {size: Resources.of(_amounts(size)) for size in (8, 4, 2, 1)}
    biggest = chance.choice([8, 4, 2, 1], len(names)).tolist()
    pods: list[tuple[int, BoundPod]] = []
    for row, (used, most) in enumerate(zip(gpus.tolist(), biggest, strict=True)):
        left = used
        while left:
            size = 8 if left == 8 else next(size for size in (4, 2, 1) if size <= min(left, max(most, 2)))
            left -= size
            pods.append((row, BoundPod(f"tenants/job-{len(pods)}", names[row], asks[size], gang="")))
    return pods


def _amounts(gpus: int) -> dict[str, int]:
    return {GPU: gpus * MILLI_GPU, CPU: gpus * CPU_PER_GPU, MEMORY: gpus * MEMORY_PER_GPU}


@dataclass(frozen=True)
class Case:
    """One standing gang.

    make: builds it. used: share of the GPUs that others hold where it is measured. loads: the kinds of sites it is
    measured on.
    """

    name: str
    make: Callable[[], Gang]
    used: float = 0.65
    loads: tuple[str, ...] = ("loaded", "fragmented")


CASES: dict[str, Case] = {}


def case(name: str, **options: Any) -> Callable[[Callable[[], Gang]], Callable[[], Gang]]:
    """Register the function below as the maker of a case's gang; options are fields of Case."""

    def register(make: Callable[[], Gang]) -> Callable[[], Gang]:
        CASES[name] = Case(name, make, **options)
        return make

    return register


def role(name: str, kind: Kind, replicas: int, gpus: int) -> Role:
    """A role whose pods are all needed."""
    asked = _amounts(gpus) if gpus else {CPU: 4_000, MEMORY: 8 * GIB}
    return Role(name, replicas, replicas, kind, Resources.of(asked))


def pd_gang(
    name: str,
    prefill: int,
    decode: int,
    tp: int,
    router: bool = False,
    tokens: int = PROMPT_TOKENS,
    preferred: str | None = None,
) -> Gang:
    """A disaggregated deployment of llama-3-70b: engines of `tp` GPUs, KV bytes of `tokens` from prefill to decode."""
    roles = [role("prefill", Kind.PREFILL, prefill, tp), role("decode", Kind.DECODE, decode, tp)]
    flows = [Flow(("prefill",), ("decode",), _kv_bytes(tp, tokens))]
    if router:
        roles.insert(0, role("router", Kind.ROUTER, 1, 0))
        flows.append(Flow(("router",), ("prefill",), ROUTER_BYTES))
    return Gang(f"bench/{name}", Group(name, tuple(roles), pack=Pack(None, preferred)), flows=tuple(flows))


def _kv_bytes(tp: int, tokens: int) -> int:
    return kv_bytes_per_token(named_model(DEFAULT_MODEL), tp) * tokens


@case("4p8d")
def small() -> Gang:
    """Four prefill and eight decode engines of 4 GPUs and a router: S = 90."""
    return pd_gang("4p8d", 4, 8, tp=4, router=True)


@case("16p16d", used=0.5)
def whole_nodes() -> Gang:
    """Sixteen and sixteen engines of 8 GPUs, which take whole nodes: S = 289."""
    return pd_gang("16p16d", 16, 16, tp=8)


@case("32p64d", used=0.5)
def large() -> Gang:
    """32 and 64 engines of 4 GPUs: S = 2,145."""
    return pd_gang("32p64d", 32, 64, tp=4)


@case("two-units", used=0.8, loads=("loaded",))
def two_units() -> Gang:
    """Two deployments of 24 and 48 GPUs in one block, each in one rack, on a site with little room."""
    units = [_unit("small", 1, 2), _unit("large", 2, 4)]
    flows = [Flow((f"prefill-{unit.name}",), (f"decode-{unit.name}",), _kv_bytes(8, PROMPT_TOKENS)) for unit in units]
    return Gang("bench/two-units", Group("two-units", groups=tuple(units), pack=Pack("block")), flows=tuple(flows))


def _unit(name: str, prefill: int, decode: int) -> Group:
    counts = ((f"prefill-{name}", Kind.PREFILL, prefill), (f"decode-{name}", Kind.DECODE, decode))
    roles = tuple(role(of, kind, count, 8) for of, kind, count in counts)
    return Group(name, roles, pack=Pack("rack"))


@case("512-rack", used=0.5)
def many_alike() -> Gang:
    """512 alike workers of 2 GPUs that prefer one rack, which none can hold: S = 513."""
    workers = role("worker", Kind.WORKER, 512, 2)
    return Gang("bench/512-rack", Group("512-rack", (workers,), pack=Pack(preferred="rack")))


@case("128p384d-rack", used=0.5, loads=("loaded",))
def many_unlike() -> Gang:
    """512 pods in two roles that prefer one rack: S = 49,665, bounded by merged tables."""
    return pd_gang("128p384d-rack", 128, 384, tp=2, preferred="rack")


@case("infeasible")
def too_large_for_a_rack() -> Gang:
    """24 engines of 8 GPUs that require one rack; no rack has more than 16 nodes."""
    roles = (role("prefill", Kind.PREFILL, 8, 8), role("decode", Kind.DECODE, 16, 8))
    return Gang("bench/infeasible", Group("infeasible", roles, pack=Pack(required="rack")))


def batch_gangs(count: int, seed: int = 1) -> list[Gang]:
    """Gangs of one call, small to middling; one in three requires a rack, one in five comes with a higher priority."""
    chance = np.random.default_rng(seed)
    found = []
    for number in range(count):
        prefill, tp = int(chance.integers(1, 5)), int(chance.choice([2, 4, 8]))
        gang = pd_gang(f"batch-{number}", prefill, int(chance.integers(prefill, 2 * prefill + 1)), tp)
        pack = Pack(required="rack") if chance.random() < 1 / 3 else Pack()
        priority = int(chance.random() < 1 / 5)
        gang = renamed(gang, f"batch-{number}/g")
        found.append(replace(gang, root=replace(gang.root, pack=pack), priority=priority))
    return found


def as_bound(gang: Gang, answer: GangPlan) -> list[BoundPod]:
    """What a placed gang holds."""
    asked = {member.name: member.requests for member in gang.roles}
    return [BoundPod(item.pod, item.node, asked[item.role], gang=gang.name) for item in answer.assignments]


def renamed(gang: Gang, name: str) -> Gang:
    """The same gang under another name, as the next tenant submits it."""
    return Gang(name, _unnamed(gang.root), gang.priority, gang.queue, gang.topology, gang.flows, gang.reach)


def _unnamed(group: Group) -> Group:
    roles = tuple(replace(member, pods=()) for member in group.roles)
    return replace(group, roles=roles, groups=tuple(_unnamed(child) for child in group.groups))


def fresh(snapshot: Snapshot) -> Snapshot:
    """The same columns without anything remembered from earlier calls."""
    return replace(snapshot)
