"""Batches of small gangs, and their joint optimum by brute force: every combination of every map of every gang."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from solver.domain.gang import Gang, Group, Role
from solver.domain.pods import BoundPod
from solver.domain.snapshot import Snapshot
from support import oracle
from support.brute.terms import fewest_pods
from support.brute.trees import choices
from support.brute.world import World
from support.builders import cluster, flow, gang, group, node, role

#: Higher is better: gangs admitted by class, then pods above the fewest, kept replicas, the other terms negated.
Worth = tuple[tuple[int, ...], tuple[Fraction, ...]]
Map = Mapping[str, str]


@dataclass(frozen=True)
class _Option:
    """One way to place a gang: what it takes by node, and its terms without fragmentation."""

    placed: Map
    taken: Mapping[str, int]
    terms: tuple[Fraction, ...]


def joint_optimum(snapshot: Snapshot, gangs: Sequence[Gang]) -> Worth:
    """What the best joint placement is worth; GPUs are the only resource the gangs compete for."""
    classes = sorted({each.priority for each in gangs}, reverse=True)
    options = [list(_options(snapshot, each)) for each in gangs]
    free = {name: int(snapshot.free[at, 0]) for at, name in enumerate(snapshot.nodes)}
    best: tuple[tuple[object, ...], list[list[_Option | None]]] | None = None
    for chosen in _combinations(options, free):
        admitted = tuple(
            sum(one is not None and each.priority == level for one, each in zip(chosen, gangs, strict=True))
            for level in classes
        )
        parts = [one.terms for one in chosen if one is not None]
        sums = tuple(sum(column, Fraction(0)) for column in zip(*parts, strict=True)) or (Fraction(0),) * 6
        worth = (admitted, sums)
        if best is None or worth > best[0]:
            best = worth, [chosen]
        elif worth == best[0]:
            best[1].append(chosen)
    assert best is not None
    left = min(_fragmentation(snapshot, gangs, chosen) for chosen in _different(gangs, best[1]))
    admitted, sums = best[0]
    return admitted, (*sums, -left)  # type: ignore[return-value]


def worth_of(snapshot: Snapshot, gangs: Sequence[Gang], placed: Sequence[Map | None]) -> Worth:
    """What given placements are worth together (None = not admitted); asserts that all rules hold."""
    classes = sorted({each.priority for each in gangs}, reverse=True)
    chosen = list(zip(gangs, placed, strict=True))
    admitted = tuple(sum(where is not None and each.priority == level for each, where in chosen) for level in classes)
    sums = [Fraction(0)] * 7
    for each, where in chosen:
        if where is not None:
            among = snapshot.with_pods([pod for other, at in chosen if other is not each for pod in _pods(other, at)])
            assert oracle.allowed(among, each, where) == []
            key = oracle.terms_of(among, each, where).key
            sums = [total - part for total, part in zip(sums, key, strict=True)]
    return admitted, tuple(sums)


def _options(snapshot: Snapshot, each: Gang) -> Iterator[_Option]:
    world = World(snapshot, each)
    if fewest_pods(world) is None:
        return
    for tree in choices(world.root, world.running):
        for where in oracle._maps(world, tree):
            placed = oracle._names(world, where)
            taken: dict[str, int] = {}
            for one in each.roles:
                for pod in one.pods:
                    if pod in placed:
                        taken[placed[pod]] = taken.get(placed[pod], 0) + one.requests["gpu"]
            key = oracle.terms_of(snapshot, each, placed).key
            yield _Option(placed, taken, tuple(-part for part in key[:6]))


def _combinations(options: Sequence[list[_Option]], free: Mapping[str, int]) -> Iterator[list[_Option | None]]:
    if not options:
        yield []
        return
    for one in (*options[0], None):
        left = dict(free)
        for name, gpus in one.taken.items() if one else ():
            left[name] -= gpus
        if min(left.values()) >= 0:
            for rest in _combinations(options[1:], left):
                yield [one, *rest]


def _different(gangs: Sequence[Gang], ties: Sequence[list[_Option | None]]) -> list[list[_Option | None]]:
    """One of all combinations that take the same GPUs on the same nodes."""
    found = {tuple(tuple(sorted(one.taken.items())) if one else None for one in chosen): chosen for chosen in ties}
    return list(found.values())


def _fragmentation(snapshot: Snapshot, gangs: Sequence[Gang], chosen: Sequence[_Option | None]) -> Fraction:
    pairs = [(each, one.placed if one else None) for each, one in zip(gangs, chosen, strict=True)]
    total = Fraction(0)
    for each, where in pairs:
        if where is not None:
            others = [pod for other, at in pairs if other is not each for pod in _pods(other, at)]
            total += oracle.terms_of(snapshot.with_pods(others), each, where)["fragmentation"]
    return total


def _pods(each: Gang, where: Map | None) -> list[BoundPod]:
    return [
        BoundPod(pod, where[pod], one.requests, gang=each.name)
        for one in each.roles
        for pod in one.pods
        if where and pod in where
    ]


def optional(root: Group) -> Group:
    """The same with every minimum 0, so that all of it may be left out."""
    roles = tuple(replace(each, min=0) for each in root.roles)
    return replace(root, min=0, roles=roles, groups=tuple(optional(child) for child in root.groups))


def random_batch(rng: random.Random, elastic: bool = False) -> tuple[Snapshot, list[Gang]]:
    """Two to four gangs of up to three pods that compete for the GPUs of three or four nodes in two racks.

    Two prefill pods are sometimes the ranks of one engine, which have a collective. elastic: the decode pods are
    replicas of a group, of which one is enough, or pods of which some are; and a gang may need no pod at all.
    """
    sizes = [rng.choice([1, 2, 2, 3, 3, 4]) for _ in range(rng.choice([3, 3, 4]))]
    racks = [rng.choice("ab") for _ in sizes]
    site = cluster(*(node(f"n{at}", gpus, rack=rack) for at, (gpus, rack) in enumerate(zip(sizes, racks, strict=True))))
    gangs = []
    for at in range(rng.choice([2, 3, 3, 4])):
        prefill, decode = rng.choice([(1, 1), (1, 1), (1, 2), (2, 1), (1, 0), (2, 0)])
        size = rng.choice([1, 1, 2])
        roles = [role("p", prefill, size)] + ([role("d", decode, rng.choice([1, size]))] if decode else [])
        flows = [flow("p", "d", gb=rng.choice([1, 2]))] if decode and rng.random() < 0.8 else []
        children: list[Role | Group] = list(roles)
        if elastic and decode:
            least = rng.choice([0, 1])
            grouped = rng.random() < 0.5
            children[1] = (
                group("engines", replace(roles[1], replicas=1, min=1), replicas=decode, min_replicas=1)
                if grouped
                else replace(roles[1], min=least)
            )
        if prefill == 2 and rng.random() < 0.5:
            children[0] = group("ranks", roles[0], multinode=True, **rng.choice([{}, {}, {"preferred": "narrowest"}]))
            flows.append(flow("p", "p", gb=rng.choice([1, 3]), collective=True))
        packed = {"required": "rack"} if rng.random() < 0.4 else {"preferred": "rack"} if rng.random() < 0.4 else {}
        each = gang(*children, name=f"ns/g{at}", flows=flows, **packed)
        if elastic and rng.random() < 0.15:
            each = replace(each, root=optional(each.root))
        gangs.append(replace(each, priority=rng.choice([0, 0, 0, 5])))
    return site, gangs
