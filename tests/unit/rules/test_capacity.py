"""Rule `capacity` alone: one test per resource, on the border and one unit beyond it."""

import pytest

from solver.domain.gang import Gang
from solver.domain.plan import Status
from solver.domain.resources import EPHEMERAL_STORAGE
from solver.domain.snapshot import Snapshot
from solver.planner import Engine
from support.builders import GIB, bound, cluster, gang, node, role
from tests.unit.planner.solving import brute_force_agrees, each_engine, nodes_of, placed, refused, solved
from tests.unit.rules.tables import check_fits

Instance = tuple[Snapshot, Gang]


def _gpu(asked: int) -> Instance:
    return cluster(node("n", 4)), gang(role("w", 1, asked))


def _cpu(asked: int) -> Instance:
    return cluster(node("n", 4, 4)), gang(role("w", 1, 0, asked))


def _memory(asked: int) -> Instance:
    return cluster(node("n", memory=4)), gang(role("w", 1, 0, memory=asked))


def _storage(asked: int) -> Instance:
    more = {EPHEMERAL_STORAGE: 4 * GIB}
    return cluster(node("n", more=more)), gang(role("w", 1, 0, more={EPHEMERAL_STORAGE: asked * GIB}))


def _extended(asked: int) -> Instance:
    return cluster(node("n", more={"rdma/ib": 4})), gang(role("w", 1, 0, more={"rdma/ib": asked}))


SINGLE = {
    "gpu": (_gpu, "5 GPUs", "4 GPUs", 1),
    "cpu": (_cpu, "5 CPUs", "4 CPUs", 1000),
    "memory": (_memory, "5 GiB memory", "4 GiB memory", GIB),
    "ephemeral-storage": (_storage, "5 GiB ephemeral-storage", "4 GiB ephemeral-storage", GIB),
    "extended": (_extended, "5 rdma/ib", "4 rdma/ib", 1),
}


@pytest.mark.parametrize("resource", SINGLE)
@each_engine
def test_one_pod_on_one_node(resource: str, engine: Engine) -> None:
    """A pod that asks for exactly what is there fits; one unit more does not, and the reason tells both numbers."""
    build, asked, there, unit = SINGLE[resource]
    for fine in (1, 4):
        check_fits((*build(fine), 1), engine)
    text = f"role w needs {asked} … 1 eligible node … {there} free"
    refused(*build(5), engine, "capacity", text, needed=5 * unit, largest=4 * unit)


@each_engine
def test_one_pod_too_many_for_the_slots(engine: Engine) -> None:
    """Every pod takes one of a node's pod slots, whatever else it asks for; running pods hold theirs."""
    slots = [node("m", pods=2), node("n", pods=2)]
    check_fits((cluster(*slots), gang(role("w", 4, 0)), 4), engine)
    check_fits((cluster(*slots, pods=[bound("x", "m")]), gang(role("w", 3, 0)), 3), engine)
    text = "needs 4 pods … 2 eligible nodes … 3 pods free"
    snapshot = cluster(*slots, pods=[bound("x", "m")])
    refused(snapshot, gang(role("w", 4, 0)), engine, "capacity", text, needed=4, free=3)


TOGETHER = {
    "gpu": ({"gpus": 4}, {"gpus": 2}, {"gpus": 3}, "needs 9 GPUs … 2 eligible nodes … 8 GPUs free", 9, 8),
    "cpu": ({"cpu": 4}, {"cpu": 2}, {"cpu": 3}, "needs 9 CPUs … 2 eligible nodes … 8 CPUs free", 9000, 8000),
    "memory": (
        {"memory": 4}, {"memory": 2}, {"memory": 3},
        "needs 9 GiB memory … 2 eligible nodes … 8 GiB memory free", 9 * GIB, 8 * GIB,
    ),
    "ephemeral-storage": (
        {"more": {EPHEMERAL_STORAGE: 4 * GIB}}, {"more": {EPHEMERAL_STORAGE: 2 * GIB}},
        {"more": {EPHEMERAL_STORAGE: 3 * GIB}},
        "needs 9 GiB ephemeral-storage … 2 eligible nodes … 8 GiB ephemeral-storage free", 9 * GIB, 8 * GIB,
    ),
    "extended": (
        {"more": {"rdma/ib": 4}}, {"more": {"rdma/ib": 2}}, {"more": {"rdma/ib": 3}},
        "needs 9 rdma/ib … 2 eligible nodes … 8 rdma/ib free", 9, 8,
    ),
}  # fmt: skip


@pytest.mark.parametrize("resource", TOGETHER)
@each_engine
def test_several_pods_on_several_nodes(resource: str, engine: Engine) -> None:
    """Four halves fill two nodes to the brim; three pods that need more than both hold are refused."""
    there, half, most, text, needed, free = TOGETHER[resource]
    snapshot = cluster(node("m", **there), node("n", **there))
    answer = check_fits((snapshot, gang(role("w", 4, **{"gpus": 0, **half})), 4), engine)
    assert sorted(nodes_of(answer).values()) == ["m", "m", "n", "n"]
    waiting = gang(role("w", 3, **{"gpus": 0, **most}))
    answer = refused(snapshot, waiting, engine, "capacity", text, needed=needed, free=free)
    assert brute_force_agrees(snapshot, waiting, answer)


@each_engine
def test_what_runs_takes_its_room(engine: Engine) -> None:
    """Free is what bound pods leave, and an overcommitted node has nothing, not less than nothing."""
    load = [bound("x", "m", 3), bound("y", "n", 9)]
    snapshot = cluster(node("m", 8), node("n", 8), pods=load)
    check_fits((snapshot, gang(role("w", 5)), 5), engine)
    text = "needs 6 GPUs … 2 eligible nodes … 5 GPUs free"
    refused(snapshot, gang(role("w", 6)), engine, "capacity", text, needed=6, free=5)


@each_engine
def test_a_pod_that_asks_for_nothing_fits_a_full_node(engine: Engine) -> None:
    """Overcommitted GPUs do not keep away a pod that asks for none."""
    snapshot = cluster(node("n", 8), pods=[bound("x", "n", 9)])
    assert nodes_of(placed(snapshot, gang(role("w", 1, 0)), engine)) == {"w-0": "n"}


@each_engine
def test_two_resources_bind_at_once(engine: Engine) -> None:
    """The node with GPUs left has no CPU left and the other way round."""
    snapshot = cluster(node("m", 4, 1), node("n", 1, 4))
    check_fits((snapshot, gang(role("g", 1, 4, 1), role("c", 1, 1, 4)), 2), engine)
    assert sorted(nodes_of(placed(snapshot, gang(role("w", 2, 1, 1)), engine)).values()) == ["m", "n"]
    assert solved(snapshot, gang(role("w", 3, 1, 1)), engine).status is Status.INFEASIBLE


@each_engine
def test_a_resource_that_no_node_has_is_zero(engine: Engine) -> None:
    """An unknown extended resource is refused, not ignored."""
    waiting = gang(role("w", 1, 0, more={"example.com/fpga": 1}))
    text = "role w needs 1 example.com/fpga … 1 eligible node … 0 example.com/fpga free"
    refused(cluster(node("n")), waiting, engine, "capacity", text, needed=1, largest=0)
