"""Topologies that labels tell: engines against the brute force, and packs by any label against the label's values."""

import itertools
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from solver.domain.errors import InvalidRequest
from solver.domain.gang import Gang
from solver.domain.plan import Status
from solver.domain.snapshot import Column, Snapshot, build_snapshot
from solver.planner import Engine, Options, plan
from solver.topology.choice import choose_topology
from support import oracle
from support.builders import gang, group, node, role
from support.strategies import random_instance, seeds

FEW = settings(max_examples=200, deadline=None, database=None, suppress_health_check=list(HealthCheck))


def found_by_labels(rng: random.Random) -> tuple[Snapshot, Gang]:
    """A random instance whose topology nobody declared, with nodes that lack labels of coarse levels."""
    snapshot, waiting = random_instance(rng)
    ((name, spec),) = snapshot.topologies.items()
    labels = dict(snapshot.labels)
    for level in spec.levels[:-1]:
        if level.label in labels and rng.random() < 0.5:
            codes = labels[level.label].codes.copy()
            codes[np.array([rng.random() < 0.3 for _ in codes])] = -1
            labels[level.label] = Column(codes, labels[level.label].values)
    return replace(snapshot, labels=labels, topologies={name: replace(spec, discovered=True)}), waiting


@FEW
@given(seeds())
def test_engines_and_brute_force_agree_where_labels_are_missing(seed: int) -> None:
    """Nodes need the levels that rules name and no coarser ones; every engine gives the brute force's answer."""
    snapshot, waiting = found_by_labels(random.Random(seed))
    truth = oracle.solve(snapshot, waiting)
    for engine in Engine:
        (answer,) = plan(snapshot, [waiting], Options(engine, time_limit_s=120)).gangs
        if truth is None:
            assert (engine, answer.status) == (engine, Status.INFEASIBLE)
            continue
        assert (engine, answer.status) == (engine, Status.OPTIMAL)
        assert (engine, tuple(term.value for term in answer.objective)) == (engine, truth.values)
        assert oracle.allowed(snapshot, waiting, {item.pod: item.node for item in answer.assignments}) == []


KEYS = ("example.com/a", "example.com/b", "nvidia.com/gpu.clique")
UNNAMED = ("topology.kubernetes.io/zone", "topology.kubernetes.io/rack", "network.topology.nvidia.com/accelerator")


def labelled(rng: random.Random) -> tuple[Snapshot, Gang]:
    """A few nodes with any labels, and a gang of up to two groups, each packed by a label that is no known level."""
    keys = [*UNNAMED[: rng.randint(0, 2)], UNNAMED[2], *KEYS]
    nodes = []
    for at in range(rng.randint(2, 5)):
        labels = {key: rng.choice("xyz") for key in keys if rng.random() < 0.8}
        nodes.append(replace(node(f"n{at}", rng.randint(1, 2)), labels=labels))
    names = rng.sample(KEYS, rng.randint(1, 2))
    parts = [group(f"g{at}", role(f"w{at}", rng.randint(1, 3)), required=key) for at, key in enumerate(names)]
    return build_snapshot(nodes), gang(*parts)


def fits(snapshot: Snapshot, waiting: Gang) -> bool:
    """Whether some way to seat every pod keeps each group on one value of its label; by trying all."""
    values = {key: [_value(snapshot, key, at) for at in range(len(snapshot.nodes))] for key in KEYS}
    free = snapshot.whole_free_gpus.tolist()
    groups = [(part.pack.required or "", part.roles[0].replicas) for part in waiting.root.groups]
    pods = [part for part, (_, count) in enumerate(groups) for _ in range(count)]
    for seats in itertools.product(range(len(snapshot.nodes)), repeat=len(pods)):
        if any(seats.count(at) > free[at] for at in set(seats)):
            continue
        used = [
            {values[key][seat] for seat, of in zip(seats, pods, strict=True) if of == part}
            for part, (key, _) in enumerate(groups)
        ]
        if all(len(found) == 1 and None not in found for found in used):
            return True
    return False


def crosses(snapshot: Snapshot, one: str, other: str) -> bool:
    """Whether a value of each label has nodes of several values, or of one and of none, of the other."""
    pairs = [(_value(snapshot, one, at), _value(snapshot, other, at)) for at in range(len(snapshot.nodes))]

    def splits(pairs: list[tuple[str | None, str | None]]) -> bool:
        return any(len({theirs for mine, theirs in pairs if mine == value}) > 1 for value, _ in pairs if value)

    return splits(pairs) and splits([(theirs, mine) for mine, theirs in pairs])


def _value(snapshot: Snapshot, key: str, at: int) -> str | None:
    column = snapshot.labels.get(key)
    return None if column is None or column.codes[at] < 0 else column.values[column.codes[at]]


@FEW
@given(seeds())
def test_packs_by_any_label_hold_by_its_values(seed: int) -> None:
    """A gang is placed exactly when one value of each label takes its group, whatever else nodes are labelled with."""
    snapshot, waiting = labelled(random.Random(seed))
    names = [part.pack.required or "" for part in waiting.root.groups]
    if not {*names, UNNAMED[2]} <= set(snapshot.labels):
        return
    if len(names) == 2 and crosses(snapshot, *names):
        with pytest.raises(InvalidRequest, match=f"levels {names[0]} and {names[1]} do not nest"):
            plan(snapshot, [waiting], Options(Engine.TREE, time_limit_s=120))
        return
    (answer,) = plan(snapshot, [waiting], Options(Engine.TREE, time_limit_s=120)).gangs
    assert answer.status is (Status.OPTIMAL if fits(snapshot, waiting) else Status.INFEASIBLE)
    node_of = {item.pod: snapshot.node_idx[item.node] for item in answer.assignments}
    for part, key in zip(waiting.root.groups, names, strict=True):
        used = {_value(snapshot, key, node_of[pod]) for pod in part.roles[0].pods if pod in node_of}
        assert len(used) == bool(node_of)
        assert None not in used


@FEW
@given(seeds())
def test_labels_that_go_are_told(seed: int) -> None:
    """Every label is a level of the gang's topology or answers for one, or a notice says that it does not count."""
    snapshot, waiting = labelled(random.Random(seed))
    words = waiting.level_words
    if len(words) == 2 and all(key in snapshot.labels for key in words) and crosses(snapshot, *words):
        with pytest.raises(InvalidRequest):
            choose_topology(snapshot, waiting)
        return
    spec, notices = choose_topology(snapshot, waiting)
    told = {notice.message.split("(")[1].split(")")[0] for notice in notices}
    for key in (*UNNAMED, *words):
        if key in snapshot.labels:
            assert (spec.find(key) is None) == (key in told)
