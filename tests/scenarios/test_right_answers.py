"""Cases that greedy schedulers get wrong; they come out right, proven, with every engine."""

import itertools
import random
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate
from pathlib import Path

import pytest

from adapters.files.cluster import load_cluster
from adapters.files.documents import read_documents
from adapters.manifests.gangs import read_gangs
from solver.domain.gang import Gang
from solver.domain.plan import GangPlan, ReasonCode, Status
from solver.domain.snapshot import Snapshot
from solver.planner import Engine
from support.builders import cluster, gang, group, node, role
from tests.unit.planner.solving import brute_force_agrees, each_engine, nodes_of, placed, refused, solved, values


def _rack_of(snapshot: Snapshot, node_name: str) -> str:
    column = snapshot.labels["rack"]
    return column.values[column.codes[snapshot.node_idx[node_name]]]


def _racks_of(snapshot: Snapshot, answer: GangPlan, role_name: str) -> Counter[str]:
    """Rack → pods of the role."""
    return Counter(_rack_of(snapshot, item.node) for item in answer.assignments if item.role == role_name)


# Three subgroups in two racks


NAMINGS = [
    (sizes, racks)
    for sizes in sorted(set(itertools.permutations((3, 3, 5))))
    for racks in itertools.permutations((6, 5))
]


@pytest.mark.parametrize(("sizes", "racks"), NAMINGS)
@each_engine
def test_subgroups_are_matched_to_racks_in_any_naming(
    sizes: Sequence[int], racks: Sequence[int], engine: Engine
) -> None:
    """Subgroups of 3, 3 and 5 pods fill racks with 6 and 5 free GPUs, whatever is called what."""
    snapshot = cluster(*(node(f"n{rack}", free, rack=f"r{rack}") for rack, free in enumerate(racks)))
    subgroups = [group(f"g{at}", role(f"w{at}", size), required="rack") for at, size in enumerate(sizes)]
    answer = placed(snapshot, gang(*subgroups), engine)
    for at, size in enumerate(sizes):
        (found,) = _racks_of(snapshot, answer, f"w{at}").items()
        assert found == (f"r{racks.index(5 if size == 5 else 6)}", size)


@each_engine
def test_subgroups_split_over_nodes_of_their_racks(engine: Engine) -> None:
    """The same with each rack's free GPUs on several nodes, one subgroup not fitting any single node."""
    nodes = [node(f"a{at}", free, rack="a") for at, free in enumerate((2, 3, 1))]
    nodes += [node(f"b{at}", free, rack="b") for at, free in enumerate((1, 4))]
    snapshot = cluster(*nodes)
    subgroups = [group(f"g{at}", role(f"w{at}", size), required="rack") for at, size in enumerate((3, 3, 5))]
    answer = placed(snapshot, gang(*subgroups), engine)
    assert [set(_racks_of(snapshot, answer, f"w{at}")) for at in range(3)] == [{"a"}, {"a"}, {"b"}]


@each_engine
def test_one_gpu_less_and_the_subgroups_do_not_fit(engine: Engine) -> None:
    """Racks of 7 and 4 have the same total and no place for the five."""
    snapshot = cluster(node("a", 7, rack="a"), node("b", 4, rack="b"))
    subgroups = [group(f"g{at}", role(f"w{at}", size), required="rack") for at, size in enumerate((3, 3, 5))]
    refused(snapshot, gang(*subgroups), engine, "pack", "g0 in one rack … g1 in one rack … g2 in one rack", groups=3)


# A large pod beside small ones


@each_engine
def test_the_large_pod_finds_a_whole_node(engine: Engine) -> None:
    """One 8-GPU pod and eight 1-GPU pods fill two 8-GPU nodes of one rack; the small ones do not break both open."""
    snapshot = cluster(node("a", rack="r"), node("b", rack="r"))
    for children in itertools.permutations((role("big", 1, 8), role("small", 8, 1))):
        answer = placed(snapshot, gang(*children, required="rack"), engine)
        where = nodes_of(answer)
        assert Counter(where.values()) in (Counter(a=8, b=1), Counter(a=1, b=8))
        assert {where[f"small-{at}"] for at in range(8)} == {"a", "b"} - {where["big-0"]}


# Which subgroups are kept


PODGROUP = """
apiVersion: scheduling.run.ai/v2alpha2
kind: PodGroup
metadata: {{name: g, namespace: ns}}
spec:
  minSubGroup: {least}
  subGroups:
  - {{name: a, minMember: 5}}
  - {{name: b, minMember: 2}}
  - {{name: c, minMember: 2}}
"""
POD = """
---
apiVersion: v1
kind: Pod
metadata:
  name: {name}
  namespace: ns
  annotations: {{pod-group-name: g}}
  labels: {{kai.scheduler/subgroup-name: {subgroup}}}
spec: {{containers: [{{name: main, resources: {{limits: {{nvidia.com/gpu: {gpus}}}}}}}]}}
"""
NODE = """
---
apiVersion: v1
kind: Node
metadata: {{name: {name}}}
status: {{allocatable: {{nvidia.com/gpu: {gpus}, cpu: 8, memory: 64Gi, pods: 110}}}}
"""


def _podgroup(folder: Path, least: int, *, large: int) -> tuple[Snapshot, Gang]:
    """Subgroup a of five pods with `large` GPUs each, b and c of two pods with one; two nodes of four GPUs."""
    pods = [POD.format(name=f"a-{at}", subgroup="a", gpus=large) for at in range(5)]
    pods += [POD.format(name=f"{name}-{at}", subgroup=name, gpus=1) for name in "bc" for at in range(2)]
    (folder / "gang.yaml").write_text(PODGROUP.format(least=least) + "".join(pods), encoding="utf-8")
    nodes = "".join(NODE.format(name=f"n{at}", gpus=4) for at in range(2))
    (folder / "cluster.yaml").write_text(nodes, encoding="utf-8")
    (waiting,) = read_gangs(read_documents([str(folder / "gang.yaml")])).gangs
    return load_cluster(read_documents([str(folder / "cluster.yaml")])).snapshot, waiting


@each_engine
def test_the_subgroups_that_fit_are_kept(engine: Engine, tmp_path: Path) -> None:
    """`minSubGroup: 2` of a (too big), b and c keeps b and c, not the first two."""
    snapshot, waiting = _podgroup(tmp_path, 2, large=2)
    answer = placed(snapshot, waiting, engine)
    assert set(nodes_of(answer)) == {"b-0", "b-1", "c-0", "c-1"}
    assert len(set(nodes_of(answer).values())) == 1
    assert brute_force_agrees(snapshot, waiting, answer)


@each_engine
def test_two_subgroups_with_the_most_pods_are_kept(engine: Engine, tmp_path: Path) -> None:
    """When the big one fits beside one other, it is kept: more pods come first; both others have the same worth."""
    snapshot, waiting = _podgroup(tmp_path, 2, large=1)
    answer = placed(snapshot, waiting, engine)
    kept = Counter(item.role for item in answer.assignments)
    assert kept in (Counter(a=5, b=2), Counter(a=5, c=2))
    assert values(answer)["replicas"] == 3


@each_engine
def test_all_three_subgroups_do_not_fit(engine: Engine, tmp_path: Path) -> None:
    """`minSubGroup: 3` needs nine GPUs of eight, and nothing is placed."""
    snapshot, waiting = _podgroup(tmp_path, 3, large=1)
    assert waiting.root.min == 3
    answer = solved(snapshot, waiting, engine)
    assert (answer.status, answer.assignments) == (Status.INFEASIBLE, ())
    assert [reason.code for reason in answer.reasons] == [ReasonCode.CAPACITY]


# Preferred racks


def _uneven(count: int, seed: int) -> tuple[Snapshot, list[int]]:
    """Racks of one to three nodes with one to eight free GPUs each, and the free GPUs of every rack."""
    rng = random.Random(seed)
    racks = [[rng.randint(1, 8) for _ in range(rng.randint(1, 3))] for _ in range(count)]
    nodes = [
        node(f"n{rack}-{at}", free, rack=f"r{rack}")
        for rack, frees in enumerate(racks)
        for at, free in enumerate(frees)
    ]
    return cluster(*nodes), [sum(frees) for frees in racks]


@pytest.mark.parametrize("pods", [25, 60, 100])
@each_engine
def test_the_fewest_racks_are_proven(pods: int, engine: Engine) -> None:
    """A gang bigger than any of 32 uneven racks takes as many racks as the largest ones need, and it is proven."""
    snapshot, sizes = _uneven(32, seed=pods)
    fewest = 1 + sum(total < pods for total in accumulate(sorted(sizes, reverse=True)))
    assert max(sizes) < pods <= sum(sizes)
    answer = placed(snapshot, gang(role("w", pods), preferred="rack"), engine)
    assert (values(answer)["containment_steps"], values(answer)["containment_domains"]) == (1, fewest)
    assert len(_racks_of(snapshot, answer, "w")) == answer.domains["rack"] == fewest > 1


@each_engine
def test_the_smallest_hole_is_filled(engine: Engine) -> None:
    """Nine pods over racks with 8, 8 and 1 free go 8 + 1.

    Every pair of racks that suffices has two domains; 8 + 1 has fewer pairs apart than 5 + 4, and of the two ways to
    place a single pod the rack with one GPU leaves no broken hole.
    """
    snapshot = cluster(node("a", 8, rack="a"), node("b", 8, rack="b"), node("c", 1, rack="c"))
    answer = placed(snapshot, gang(role("w", 9), preferred="rack"), engine)
    racks = _racks_of(snapshot, answer, "w")
    assert sorted(racks.values()) == [1, 8]
    assert racks["c"] == 1
    found = values(answer)
    assert (found["containment_steps"], found["containment_domains"], found["fragmentation"]) == (1, 2, 0)
    assert found["proximity"] == Fraction(2 * 8 * 2, 9 * 8)  # 16 of 72 ordered pairs climb to the root


@each_engine
def test_a_rack_that_holds_all_is_taken_whole(engine: Engine) -> None:
    """With a rack that suffices nothing is spread, and the tightest such rack is used."""
    nodes = [node(name, free, rack=name) for name, free in (("a", 8), ("b", 6), ("c", 5), ("d", 2))]
    answer = placed(cluster(*nodes), gang(role("w", 5), preferred="rack"), engine)
    assert set(nodes_of(answer).values()) == {"c"}
    assert values(answer)["containment_steps"] == 0


# Replicas over several nodes


MULTINODE = group("decode", role("decode", 2, 8), replicas=2, required="rack", multinode=True)


@each_engine
def test_replicas_may_part_but_none_is_split(engine: Engine) -> None:
    """Two replicas of two whole nodes: each in one rack, in two racks where neither holds four nodes."""
    racks = {"a": 3, "b": 2, "c": 1}
    nodes = [node(f"{rack}{at}", rack=rack) for rack, count in racks.items() for at in range(count)]
    snapshot = cluster(*nodes)
    answer = placed(snapshot, gang(MULTINODE), engine)
    where = {pod: _rack_of(snapshot, at) for pod, at in nodes_of(answer).items()}
    assert where["decode-0"] == where["decode-1"]
    assert where["decode-2"] == where["decode-3"]
    assert {where["decode-0"], where["decode-2"]} == {"a", "b"}
    assert brute_force_agrees(snapshot, gang(MULTINODE), answer)


@each_engine
def test_replicas_stay_together_where_they_can(engine: Engine) -> None:
    """A rack of four nodes takes both replicas."""
    nodes = [node(f"{rack}{at}", rack=rack) for rack, count in {"a": 2, "b": 4, "c": 3}.items() for at in range(count)]
    answer = placed(cluster(*nodes), gang(MULTINODE), engine)
    assert set(nodes_of(answer).values()) == {"b0", "b1", "b2", "b3"}


@each_engine
def test_a_replica_that_would_be_split_waits(engine: Engine) -> None:
    """Four whole nodes in racks of three and one: the second replica would lie in two racks."""
    nodes = [node(f"{rack}{at}", rack=rack) for rack, count in {"a": 3, "b": 1}.items() for at in range(count)]
    text = "decode in one rack (2 times 16 GPUs, the fullest has 24 free"
    refused(cluster(*nodes), gang(MULTINODE), engine, "pack", text, groups=1)
