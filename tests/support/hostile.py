"""Gangs that are written to be expensive: small texts that give readers, compiler, bounds and checks much to do.

`manifest(seed)` is a `Gang` object as a tenant writes it, of one of KINDS in turn; `hostile(seed)` the gang that is
read from it, with running members where the kind has some. All are valid, or refused by the reader in one line.
"""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from adapters.kubernetes.objects import Document
from adapters.manifests.gangs import read_gangs
from solver.domain.gang import BoundMember, Gang
from solver.domain.levels import Level, TopologySpec
from solver.domain.snapshot import Snapshot, build_snapshot
from support.builders import node

Json = dict[str, Any]

LEVELS = ("zone", "block", "rack", "nvl")


def world(nodes: int = 96) -> Snapshot:
    """A quiet cluster of two kinds of nodes in four levels."""
    spec = TopologySpec("", tuple(Level(level, level) for level in LEVELS))
    records = [
        node(
            f"n{at}",
            gpus=8 if at % 3 else 4,
            cpu=96 if at % 3 else 48,
            zone=f"z{at // 48}",
            block=f"b{at // 24}",
            rack=f"r{at // 8}",
            nvl=f"v{at // 4}",
        )
        for at in range(nodes)
    ]
    return build_snapshot(records, topologies=[spec])


def manifest(seed: int) -> Json:
    """The gang of a seed, as it is written."""
    rng = random.Random(seed)
    name = tuple(KINDS)[seed % len(KINDS)]
    return {
        "apiVersion": "huddle.scheduler/v1alpha1",
        "kind": "Gang",
        "metadata": {"name": f"{name}-{seed}", "namespace": "hostile"},
        "spec": KINDS[name](rng),
    }


def hostile(seed: int) -> Gang:
    """The gang of a seed as the solver gets it. Raises InvalidRequest where the reader refuses it."""
    (gang,) = read_gangs([Document(manifest(seed), "hostile")]).gangs
    return _with_running(gang, random.Random(seed)) if gang.name.startswith("hostile/running") else gang


def _with_running(gang: Gang, rng: random.Random) -> Gang:
    pods = [pod for role in gang.root.roles for pod in role.pods]
    chosen = rng.sample(pods, rng.randint(len(pods) // 2, len(pods)))
    return replace(gang, running=tuple(BoundMember(pod, f"n{rng.randrange(96)}") for pod in sorted(chosen)))


def _role(name: str, replicas: int, least: int, gpus: int = 1, cpu: int = 1, **more: Any) -> Json:
    spec, own = more.pop("spec", {}), more.pop("metadata", {})
    limits = {"nvidia.com/gpu": str(gpus), "cpu": str(cpu)}
    pod = {"metadata": own, "spec": {**spec, "containers": [{"name": "main", "resources": {"limits": limits}}]}}
    return {"name": name, "replicas": replicas, "min": least, "template": pod, **more}


def _pack(rng: random.Random) -> Json:
    chosen = rng.choice([{}, {"preferred": "host"}, {"preferred": "rack"}, {"required": "zone", "preferred": "rack"}])
    return {"pack": chosen} if chosen else {}


def _deep_nest(rng: random.Random) -> Json:
    """Groups in groups that may all replicate, or not."""
    depth, width = rng.choice([(2, 40), (3, 20), (4, 10), (5, 6), (6, 4), (9, 2), (20, 1)])
    group: Json = {}
    for level in range(depth):
        roles = (
            [_role(f"x{level}", rng.randint(1, 4), rng.choice([0, 0, 1]))] if not group or rng.random() < 0.5 else []
        )
        inner = [group] if group else []
        group = {"name": f"g{level}", "replicas": width, "min": 1, "roles": roles, "groups": inner}
        if rng.random() < 0.5:
            group["minChildren"] = 0
    return {"root": {"min": 0, "groups": [group]}}


def _wide_tree(rng: random.Random) -> Json:
    """A tree of groups of which each may stay away."""
    branches, depth, names = rng.choice([(2, 6), (3, 4), (4, 3), (12, 2), (300, 1)]), 0, iter(range(100_000))

    def grown(left: int) -> Json:
        name = next(names)
        groups = [grown(left - 1) for _ in range(branches[0])] if left else []
        pods = rng.randint(1, 3)
        return {
            "name": f"h{name}",
            "minChildren": rng.choice([0, 0, 1]),
            "roles": [_role(f"y{name}", pods, rng.randint(0, 1))],
            "groups": groups,
        }

    return {"root": {"min": depth, "groups": [grown(branches[1])]}}


def _many_roles(rng: random.Random) -> Json:
    """Many roles, rigid or not, with flows among all of them or without any."""
    count = rng.choice([16, 32, 64, 128, 300, 1000])
    elastic, pods = rng.random() < 0.5, rng.choice([1, 1, 4, 30])
    roles = [_role(f"r{at}", pods, 0 if elastic else pods, at % 4, at % 7 + 1) for at in range(count)]
    flows = []
    if rng.random() < 0.5:
        flows = [
            {"from": f"r{one}", "to": f"r{other}", "bytes": 10**9}
            for one in range(min(count, 64))
            for other in range(one)
        ]
    return {"root": {**_pack(rng), "roles": roles}, "flows": flows}


def _many_flows(rng: random.Random) -> Json:
    """Flows without end between few roles, or few flows between very many."""
    if rng.random() < 0.5:
        roles = [_role("a", 3, 3), _role("b", 5, 5)]
        flows = [{"from": "a", "to": "b", "bytes": at, "pattern": "nearest"} for at in range(rng.choice([500, 5000]))]
    else:
        count = rng.choice([60, 200])
        roles = [_role(f"r{at}", 2, 2, at % 8, 1) for at in range(count)]
        names = [role["name"] for role in roles]
        flows = [{"from": names, "to": names, "bytes": at + 1} for at in range(rng.choice([1, 20]))]
    return {"root": {**_pack(rng), "roles": roles}, "flows": flows}


def _many_pods(rng: random.Random) -> Json:
    """As many pods as a gang may have, of one role or several."""
    pods = rng.choice([5_000, 20_000, 50_000])
    least = rng.choice([0, 1, pods // 2, pods])
    gpus = rng.choice([0, 1])
    roles = [_role("p", pods, least, gpus, rng.choice([0, 1])), _role("q", pods, min(least, 7), gpus, 0)]
    flows = [{"from": "p", "to": "q", "bytes": 10**9, "pattern": rng.choice(["nearest", "all_to_all"])}]
    both = rng.random() < 0.7
    return {"root": {**_pack(rng), "roles": roles if both else roles[:1]}, "flows": flows if both else []}


def _many_replicas(rng: random.Random) -> Json:
    """One group with replicas without end."""
    copies, size = rng.choice([100, 1_000, 10_000, 50_000]), rng.choice([1, 2])
    group = {"name": "g", "replicas": copies, "min": rng.choice([1, copies]), **_pack(rng)}
    group["roles"] = [_role(f"r{at}", size, rng.choice([0, size]), 1) for at in range(rng.randint(1, 2))]
    if rng.random() < 0.3:
        group["minChildren"] = 0
    return {"root": {"min": rng.choice([0, 1]), "groups": [group]}}


def _many_rules(rng: random.Random) -> Json:
    """Spread and reach rules, hundreds of each."""
    count = rng.choice([100, 1000])
    spread = [{"level": rng.choice(LEVELS), "max": rng.randint(1, 20)} for _ in range(count)]
    roles = [_role("a", 20, rng.choice([0, 20]), 1, spread=spread), _role("b", 20, 3, 1)]
    reach = [{"from": "a", "to": "b", "level": rng.choice(LEVELS), "ratio": 0.1} for _ in range(rng.choice([0, count]))]
    flows = [{"from": "a", "to": "b", "bytes": at, "pattern": "nearest"} for at in range(rng.choice([1, 300]))]
    return {"root": {"roles": roles}, "reach": reach, "flows": flows}


def _huge_minimum(rng: random.Random) -> Json:
    """Minimums that nothing can meet, and a root that may be empty."""
    most = rng.choice([50_000, 100_000])
    roles = [_role("a", rng.randint(1, 50), rng.choice([0, most]), 1), _role("b", rng.randint(1, 50), 1, 1)]
    groups = [
        {"name": "g", "replicas": rng.choice([1, 1000]), "min": 1, "minChildren": most, "roles": [_role("c", 3, 0)]}
    ]
    return {"root": {"min": rng.choice([0, most]), "roles": roles, "groups": groups[: rng.randint(0, 1)]}}


def _long_lists(rng: random.Random) -> Json:
    """Node affinity, tolerations and values of expressions, thousands of each."""
    count = rng.choice([300, 3000])
    values = [f"r{at}" for at in range(count)]
    wide = [{"matchExpressions": [{"key": "rack", "operator": "In", "values": values}]}]
    wide += [{"matchExpressions": [{"key": f"k{at}", "operator": "NotIn", "values": ["x"]}]} for at in range(count)]
    fields = [{"matchFields": [{"key": "metadata.name", "operator": "NotIn", "values": ["n1"]}]}]
    terms = rng.choice([wide, wide[:1], fields * min(count, 300)])
    spec = {
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}},
        "tolerations": [{"key": f"k{at}", "operator": "Exists"} for at in range(count)],
    }
    roles = [_role(f"r{at}", 4, rng.choice([0, 4]), 1, spec=spec) for at in range(rng.choice([1, 10, 40]))]
    return {"root": {"roles": roles}}


def _running(rng: random.Random) -> Json:
    """Members that run already, on nodes of all kinds, in groups without end."""
    pods = rng.choice([50, 400, 5_000])
    roles = [_role("a", pods, rng.choice([0, pods]), 1, 0), _role("b", pods, 0, 0, 0)]
    return {"root": {**_pack(rng), "roles": roles}}


def _uneven(rng: random.Random) -> Json:
    """Roles of sizes that have nothing in common, so that nothing merges and nothing divides."""
    count = rng.choice([4, 8, 16, 40])
    roles = [_role(f"r{at}", rng.choice([3, 17, 97, 997]), rng.choice([0, 1, 3]), rng.randint(0, 7), rng.randint(1, 31))
             for at in range(count)]  # fmt: skip
    flows = [
        {"from": f"r{at}", "to": f"r{(at + 1) % count}", "bytes": rng.randrange(10**9), "perRequest": rng.random()}
        for at in range(count)
    ]
    return {"root": {**_pack(rng), "roles": roles}, "flows": flows}


def _engines(rng: random.Random) -> Json:
    """Groups of several pods that have to lie together, many kinds of them, and what they send."""
    kinds = rng.choice([2, 8, 30])
    groups = []
    for at in range(kinds):
        pods = [_role(f"m{at}", rng.randint(1, 4), 1, rng.randint(1, 8)), _role(f"o{at}", 1, 1, 0)]
        pods[0]["min"] = pods[0]["replicas"]
        group = {"name": f"e{at}", "replicas": rng.choice([1, 10, 200]), "min": 1, "roles": pods}
        groups.append({**group, "pack": {"required": rng.choice(LEVELS)}})
    flows = [{"from": f"m{one}", "to": f"m{other}", "bytes": 10**8} for one in range(kinds) for other in range(one)]
    return {"root": {"groups": groups}, "flows": flows}


#: Kind → what makes the `spec` of one.
KINDS: dict[str, Callable[[random.Random], Json]] = {
    "nest": _deep_nest,
    "tree": _wide_tree,
    "roles": _many_roles,
    "flows": _many_flows,
    "pods": _many_pods,
    "replicas": _many_replicas,
    "rules": _many_rules,
    "minimum": _huge_minimum,
    "lists": _long_lists,
    "running": _running,
    "uneven": _uneven,
    "engines": _engines,
}
