"""Links that the traffic of a gang may fill: the NICs of nodes and NVLink domains, the uplinks of coarser domains.

Everything is in whole bytes a second for one direction, the share that may be used already taken. A node outside every
NVLink domain has its own NICs; those of the nodes of one NVLink domain are one link, for what leaves the domain.
"""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from solver.domain.levels import Level, TopologySpec, decimal
from solver.domain.snapshot import Ints
from solver.topology.tree import Tree

#: Bytes in the G of GB/s.
GIGA = 10**9
#: A domain without a link that is looked at.
NO_LINK = -1
#: Above this nothing is a limit: no flow of a gang sends so much.
_MOST = 2**62


@dataclass(frozen=True)
class Links:
    """What may go over each link.

    domains: by level, [domains] bytes a second, NO_LINK where a domain has none; None for levels without links. host:
    of a node outside every domain of `nvlink`, a level index or None.
    """

    domains: tuple[Ints | None, ...]
    host: int
    nvlink: int | None

    def at(self, level: int) -> Ints | None:
        """[domains] of a level above the hosts, None = no links."""
        return self.domains[level]

    def of_node(self, bits: int) -> int:
        """Of a node with path `bits`."""
        return NO_LINK if self.nvlink is not None and bits >> self.nvlink & 1 else self.host


def links_of(tree: Tree) -> Links | None:
    """Links of a topology's domains, None when it states nothing about any."""
    spec = tree.spec
    host = _allowed(spec, spec.node_gbps, spec.levels[-1], 1) if spec.node_gbps is not None else NO_LINK
    nvlink = spec.nvlink
    domains = [_of_level(tree, level) for level in range(tree.height)]
    if host == NO_LINK and all(each is None for each in domains):
        return None
    return Links((*domains, None), host, nvlink)


def _of_level(tree: Tree, at: int) -> Ints | None:
    """[domains] of one level above the hosts."""
    spec = tree.spec
    if not at:
        return None
    level, nics = spec.levels[at - 1], spec.node_gbps if at == spec.nvlink else None
    if level.uplink_gbps is None and level.oversubscription is None and nics is None:
        return None
    sizes = np.bincount(tree.domain_of[at], minlength=len(tree.parent[at]))
    values, inverse = np.unique(sizes, return_inverse=True)
    allowed = np.array([_of_size(spec, level, nics, size) for size in values.tolist()], dtype=np.int64)
    return np.where(tree.real[at], allowed[inverse], NO_LINK)


def _of_size(spec: TopologySpec, level: Level, nics: float | None, nodes: int) -> int:
    """Of a domain with so many nodes: its uplink, and where it is an NVLink domain all its NICs."""
    found = []
    if level.uplink_gbps is not None:
        found.append(_allowed(spec, level.uplink_gbps, level, 1))
    elif level.oversubscription is not None and spec.node_gbps is not None:
        inside = decimal(spec.node_gbps) * nodes / decimal(level.oversubscription)
        found.append(_share(spec, inside - decimal(level.used_gbps)))
    if nics is not None:
        found.append(_allowed(spec, nics, spec.levels[-1], nodes))
    return min(found)


def _allowed(spec: TopologySpec, gbps: float, level: Level, times: int) -> int:
    """Of so many links of `gbps`, each with the level's background."""
    return _share(spec, (decimal(gbps) - decimal(level.used_gbps)) * times)


def _share(spec: TopologySpec, left_gbps: Fraction) -> int:
    """The share of what is left that may be used, in whole bytes a second."""
    return min(_MOST, int(max(Fraction(0), left_gbps) * GIGA * decimal(spec.max_link_share)))
