"""Levels of a topology and what a transfer costs at each of them."""

import math
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from fractions import Fraction

from solver.domain.errors import InvalidRequest

HOST = "host"
HOST_LABEL = "kubernetes.io/hostname"
ROOT = "root"
#: Name of the level whose domains NVLink holds together: traffic inside one leaves the NICs alone.
NVL = "nvl"
#: What a preferred pack may say instead of a level: the narrowest place above the host that the topology has.
NARROWEST = "narrowest"
MAX_LEVELS = 16
#: Share of what is left of a link that the traffic of a gang may use where a topology states none.
MAX_LINK_SHARE = 0.6


def decimal(value: float | None) -> Fraction:
    """The number as it is written: 0.6 is three fifths; None is 0."""
    return Fraction(str(value or 0))


@dataclass(frozen=True, slots=True)
class Tier:
    """Cost of one transfer: bandwidth in GB/s (10⁹ bytes) per GPU one way, set-up time in microseconds.

    node_gbps: GB/s of all NICs of a node together, per direction, on paths of this tier; None = every GPU has a path of
    its own. Raises InvalidRequest unless `gbps` and `node_gbps` lie in 0.001 … 10⁶ and `setup_us` in 0 … 10⁷.
    """

    gbps: float
    setup_us: float
    node_gbps: float | None = None

    def __post_init__(self) -> None:
        _check_gbps("gbps", self.gbps)
        _check_gbps("nodeGbps", self.node_gbps)
        if not (math.isfinite(self.setup_us) and 0 <= self.setup_us <= 1e7):
            raise InvalidRequest(f"setupUs {self.setup_us} is out of range (0 to 10000000)")


def _check_gbps(name: str, value: float | None) -> None:
    _check_range(name, value, 0.001, 1e6)


def _check_range(name: str, value: float | None, low: float, high: float) -> None:
    if value is not None and not (math.isfinite(value) and low <= value <= high):
        raise InvalidRequest(f"{name} {value} is out of range ({low:g} to {high:.0f})")


DEFAULT_TIERS = {
    NVL: Tier(720, 10),
    HOST: Tier(40, 400),
    "rack": Tier(40, 400),
    "block": Tier(20, 450),
    "zone": Tier(10, 600),
    "region": Tier(2, 1500),
    ROOT: Tier(1, 5000),
}
_BY_POSITION = ("rack", "block", "zone", "region")

#: Label key → level name, coarse to fine: the order in which unnamed topologies are discovered.
WELL_KNOWN_LABELS = {
    "topology.kubernetes.io/region": "region",
    "topology.kubernetes.io/zone": "zone",
    "network.topology.nvidia.com/datacenter": "datacenter",
    "topology.k8s.aws/network-node-layer-1": "layer-1",
    "topology.k8s.aws/network-node-layer-2": "layer-2",
    "topology.k8s.aws/network-node-layer-3": "layer-3",
    "fabric.topograph.run/tier-3": "tier-3",
    "fabric.topograph.run/tier-2": "tier-2",
    "network.topology.nvidia.com/spine": "spine",
    "topology.kubernetes.io/block": "block",
    "fabric.topograph.run/tier-1": "tier-1",
    "network.topology.nvidia.com/block": "block",
    "cloud.google.com/gce-topology-block": "block",
    "cloud.google.com/gce-topology-subblock": "subblock",
    "topology.kubernetes.io/rack": "rack",
    "fabric.topograph.run/tier-0": "tier-0",
    "network.topology.nvidia.com/accelerator": NVL,
    "accelerator.topograph.run/domain": NVL,
    "nvidia.com/gpu.clique": NVL,
    HOST_LABEL: HOST,
}


def well_known_name(label: str) -> str | None:
    """Level name of a well-known label key; any `…/block` and `…/rack` key counts as one."""
    known = WELL_KNOWN_LABELS.get(label)
    if known is None and label.rsplit("/", 1)[-1] in ("block", "rack"):
        return label.rsplit("/", 1)[-1]
    return known


@dataclass(frozen=True, slots=True)
class Level:
    """One tier of a topology.

    name: how answers call it. label: the node label whose values are the domains. tier: None takes the default
    by name, else by position. also: further names by which constraints may call it (alias, well-known name).
    uplink_gbps: GB/s of one domain's uplink, per direction; or oversubscription, by which the NICs of a domain's nodes
    together exceed its uplink. used_gbps: what others send over each link of the level, those of the host's being the
    NICs of a node. Raises InvalidRequest unless they lie in 0.001 … 10⁶, 1 … 10⁶ and 0 … 10⁶, and for both of the
    first two.
    """

    name: str
    label: str
    tier: Tier | None = None
    also: tuple[str, ...] = ()
    uplink_gbps: float | None = None
    oversubscription: float | None = None
    used_gbps: float | None = None

    def __post_init__(self) -> None:
        _check_gbps("uplinkGbps", self.uplink_gbps)
        _check_range("oversubscription", self.oversubscription, 1, 1e6)
        _check_range("usedGbps", self.used_gbps, 0, 1e6)
        if self.uplink_gbps is not None and self.oversubscription is not None:
            raise InvalidRequest(f"level {self.name!r}: uplinkGbps and oversubscription exclude each other")

    def answers_to(self, word: str) -> bool:
        """Whether a constraint that says `word` means this level."""
        return word in (self.name, self.label, *self.also)


@dataclass(frozen=True, slots=True)
class TopologySpec:
    """Levels from coarse to fine. `host` is appended when the last level is not the host.

    node_gbps: `Tier.node_gbps` of every tier that states none and whose paths use the NICs: of the root, of the levels
    coarser than NVLink's, and without such a level of the host, too, unless it states a tier. handover_ms: what the
    connector takes for one hand-over beside the transfer, the same wherever pods are; told, never minimised.
    discovered: nobody declared it, node labels tell it; then nodes need what rules name, not all that is coarser.
    max_link_share: part of what is left of a link that the traffic of a gang may use (rule `bandwidth`).
    Raises InvalidRequest for repeated names or labels, a host that is not last, more than 16 levels, a level called by
    the reserved word `narrowest`, a number out of its range (`node_gbps` 0.001 … 10⁶, `handover_ms` 0 … 10⁷,
    `max_link_share` 0.001 … 1), an uplink of the host or inside NVLink's domains, and where a number that another one
    needs is missing.
    """

    name: str
    levels: tuple[Level, ...]
    root_tier: Tier | None = None
    node_gbps: float | None = None
    handover_ms: float | None = None
    discovered: bool = False
    max_link_share: float = MAX_LINK_SHARE
    tiers: tuple[Tier, ...] = field(init=False)

    def __post_init__(self) -> None:
        levels = tuple(self.levels)
        if not levels or levels[-1].label != HOST_LABEL:
            levels = (*levels, Level(HOST, HOST_LABEL))
        where = f"Topology {self.name}" if self.name else "topology"
        if len(levels) > MAX_LEVELS + 1:
            raise InvalidRequest(f"{where}: more than {MAX_LEVELS} levels")
        for key in ("name", "label"):
            seen = [getattr(level, key) for level in levels]
            repeated = sorted({word for word in seen if seen.count(word) > 1})
            if repeated:
                raise InvalidRequest(f"{where}: level {key} {repeated[0]!r} appears twice")
        if any(level.answers_to(NARROWEST) for level in levels):
            raise InvalidRequest(f"{where}: {NARROWEST!r} is no name for a level: it is a word of preferred packs")
        if any(level.label == HOST_LABEL for level in levels[:-1]):
            raise InvalidRequest(f"{where}: {HOST_LABEL} must be the last level")
        object.__setattr__(self, "levels", levels)
        _check_gbps("nodeGbps", self.node_gbps)
        _check_range("handoverMs", self.handover_ms, 0, 1e7)
        _check_range("maxLinkShare", self.max_link_share, 0.001, 1)
        for position, level in enumerate(levels, start=1):
            self._check_links(position, level, where)
        tiers = (self.root_tier or DEFAULT_TIERS[ROOT], *_tiers(levels))
        object.__setattr__(self, "tiers", tuple(self._with_nics(at, tier) for at, tier in enumerate(tiers)))

    @property
    def nvlink(self) -> int | None:
        """Position of the level whose domains NVLink holds together, or None."""
        return self.find(NVL)

    @property
    def shares_nics(self) -> bool:
        """Whether any tier is limited by the NICs of a node."""
        return any(tier.node_gbps is not None for tier in self.tiers)

    def _check_links(self, position: int, level: Level, where: str) -> None:
        has_uplink = level.uplink_gbps is not None or level.oversubscription is not None
        is_host, nvlink = position == len(self.levels), self.nvlink
        if has_uplink and (is_host or (nvlink is not None and position > nvlink)):
            problem = "has no uplink: the link of a node is nodeGbps of the topology" if is_host else "is inside NVLink"
            raise InvalidRequest(f"{where}: level {level.name!r} {problem}")
        if level.oversubscription is not None and self.node_gbps is None:
            raise InvalidRequest(f"{where}: level {level.name!r}: oversubscription needs nodeGbps of the topology")
        if level.used_gbps is not None and not (self.node_gbps is not None if is_host else has_uplink):
            needed = "nodeGbps of the topology" if is_host else "uplinkGbps or oversubscription"
            raise InvalidRequest(f"{where}: level {level.name!r}: usedGbps needs {needed}")

    def _with_nics(self, position: int, tier: Tier) -> Tier:
        """The tier with the NICs of a node where its paths use them."""
        if tier.node_gbps is not None or self.node_gbps is None:
            return tier
        nvlink, height = self.nvlink, len(self.levels)
        outside = position < (height if nvlink is None else nvlink)
        at_host = position == height and nvlink is None and self.levels[-1].tier is None
        return replace(tier, node_gbps=self.node_gbps) if outside or at_host else tier

    def find(self, word: str) -> int | None:
        """Position of the level called `word` (1 = coarsest, 0 is the root), or None.

        `nvl` is also a level of another name whose label is well known for NVLink domains.
        """
        for position, level in enumerate(self.levels, start=1):
            if level.answers_to(word):
                return position
        if word == NVL:
            for position, level in enumerate(self.levels, start=1):
                if well_known_name(level.label) == NVL:
                    return position
        return None

    def find_preferred(self, word: str) -> int | None:
        """Position of the level that a preferred pack calls `word`, 0 = no preference, None = unknown.

        `narrowest` is the level nvl, by whatever name, else the finest one above the host, else nothing.
        """
        if word != NARROWEST:
            return self.find(word)
        nvl = self.find(NVL)
        return len(self.levels) - 1 if nvl is None else nvl


def _tiers(levels: tuple[Level, ...]) -> list[Tier]:
    """Tier of each level: its own, else by name, else by position upward from host."""
    tiers: list[Tier] = []
    for position, level in enumerate(levels):
        above_host = len(levels) - 2 - position
        by_position = _BY_POSITION[min(max(above_host, 0), len(_BY_POSITION) - 1)]
        tiers.append(level.tier or DEFAULT_TIERS.get(level.name) or DEFAULT_TIERS[by_position])
    return tiers


def discovered_topology(labels: Collection[str], name: str = "") -> TopologySpec:
    """Topology of a cluster that declares none: the well-known labels its nodes carry, coarse to fine."""
    levels: list[Level] = []
    keys = [key for key in WELL_KNOWN_LABELS if key in labels]
    keys += sorted(key for key in labels if key not in WELL_KNOWN_LABELS and well_known_name(key))
    order = {name: rank for rank, name in enumerate(dict.fromkeys(WELL_KNOWN_LABELS.values()))}
    for key in sorted(keys, key=lambda key: order[well_known_name(key) or HOST]):
        level = well_known_name(key) or key
        if level != HOST and level not in {other.name for other in levels}:
            levels.append(Level(level, key))
    return TopologySpec(name, tuple(levels), discovered=True)
