"""Rule `queue` alone: own limit, ancestors, what others hold, missing queues."""

import pytest

from solver.domain.gang import Gang
from solver.domain.plan import ReasonCode, Status
from solver.domain.pods import BoundPod
from solver.domain.snapshot import QueueSpec, Snapshot
from solver.planner import Engine
from support.builders import GIB, bound, cluster, gang, node, queue, role, with_running
from tests.unit.planner.solving import brute_force_agrees, each_engine, nodes_of, placed, refused, says, solved
from tests.unit.rules.tables import Fits, check_fits, fitting


def of(*queues: QueueSpec, pods: tuple[BoundPod, ...] = ()) -> Snapshot:
    """One node with more room than anybody asks for, and queues."""
    return cluster(node("n", 64), queues=queues, pods=pods)


TREE = (queue("org", gpu=6000), queue("team", "org", gpu=4000), queue("other", "org"), queue("elsewhere", gpu=1000))
TEAM = gang(role("w", 4), queue="team")

FITS: dict[str, Fits] = {
    "far below the limit": (of(queue("q", gpu=9000)), gang(role("w", 4), queue="q"), 4),
    "exactly the limit": (of(queue("q", gpu=4000)), gang(role("w", 4), queue="q"), 4),
    "no limit": (of(queue("q")), gang(role("w", 4), queue="q"), 4),
    "another resource is limited": (of(queue("q", cpu=0)), gang(role("w", 4), queue="q"), 4),
    "limit 0 of what is not asked for": (of(queue("q", gpu=0)), gang(role("w", 4, 0, 1), queue="q"), 4),
    "elastic pods fill the limit": (of(queue("q", gpu=3000)), gang(role("w", 4, min=2), queue="q"), 3),
    "elastic pods fill the rest": (
        of(queue("q", gpu=5000), pods=(bound("x", "n", 2, queue="q"),)), gang(role("w", 4, min=2), queue="q"), 3,
    ),
    "an ancestor's limit exactly": (of(*TREE, pods=(bound("x", "n", 2, queue="other"),)), TEAM, 4),
    "queues elsewhere do not matter": (of(*TREE, pods=(bound("x", "n", 9, queue="elsewhere"),)), TEAM, 4),
    "pods without a queue do not matter": (of(*TREE, pods=(bound("x", "n", 9),)), TEAM, 4),
    "a gang without a queue has no limit": (of(*TREE), gang(role("w", 4)), 4),
    "ancestors in a circle": (of(queue("a", "b", gpu=4000), queue("b", "a")), gang(role("w", 4), queue="a"), 4),
    "the namespace is on the list": (
        of(QueueSpec("q", {"gpu": 4000}, namespaces=("other", "default"))), gang(role("w", 4), queue="q"), 4,
    ),
    "the namespace has it by default, which is as good as the list": (
        of(QueueSpec("q", {"gpu": 4000}, namespaces=("other",), default_for=("default",))),
        gang(role("w", 4), queue="q"), 4,
    ),
    "the default queue's limit exactly": (
        of(QueueSpec("q", {"gpu": 4000}, default_for=("default",))), gang(role("w", 4)), 4,
    ),
    "the default of another namespace": (
        of(QueueSpec("q", {"gpu": 1000}, default_for=("other",))), gang(role("w", 4)), 4,
    ),
    "a queue that is named counts before the default": (
        of(QueueSpec("q", {"gpu": 1000}, default_for=("default",)), queue("own")), gang(role("w", 4), queue="own"), 4,
    ),
    "elastic pods fill what other pods of the namespace leave of its default": (
        of(QueueSpec("q", {"gpu": 4000}, default_for=("default",)), pods=(bound("default/x", "n", 1),)),
        gang(role("w", 4, min=2)), 3,
    ),
    "an unknown parent": (of(queue("q", "gone", gpu=4000)), gang(role("w", 4), queue="q"), 4),
}  # fmt: skip

#: instance → left and limit as the sentence says them, and the queue
REFUSED: dict[str, tuple[Snapshot, str, str, str, str]] = {
    "one beyond the limit": (of(queue("q", gpu=3000)), "q", "q", "3 GPUs", "3 GPUs"),
    "limit 0 is nothing": (of(queue("q", gpu=0)), "q", "q", "0 GPUs", "0 GPUs"),
    "others of the queue hold one": (
        of(queue("q", gpu=4000), pods=(bound("x", "n", 1, queue="q"),)), "q", "q", "3 GPUs", "4 GPUs",
    ),
    "others hold more than the limit": (
        of(queue("q", gpu=4000), pods=(bound("x", "n", 9, queue="q"),)), "q", "q", "0 GPUs", "4 GPUs",
    ),
    "a sibling fills the ancestor": (
        of(*TREE, pods=(bound("x", "n", 3, queue="other"),)), "team", "org", "3 GPUs", "6 GPUs",
    ),
    "the ancestor's own pods": (
        of(*TREE, pods=(bound("x", "n", 3, queue="org"),)), "team", "org", "3 GPUs", "6 GPUs",
    ),
    "an ancestor two levels up": (
        of(queue("root", gpu=3000), queue("org", "root"), queue("team", "org")), "team", "root", "3 GPUs", "3 GPUs",
    ),
}  # fmt: skip


@fitting(FITS)
@each_engine
def test_limits_that_hold(case: Fits, engine: Engine) -> None:
    """What the gang and others of the queue hold fits every limit up to the top."""
    check_fits(case, engine)


@pytest.mark.parametrize("case", REFUSED)
@each_engine
def test_limits_that_are_exceeded(case: str, engine: Engine) -> None:
    """The node has room, the queue has not; the reason names the queue whose limit it is and what is left of it."""
    snapshot, own, named, left, limit = REFUSED[case]
    waiting = gang(role("w", 4), queue=own)
    refused_by_queue(snapshot, waiting, engine, f"queue {named} … {left} left … limit of {limit} … needs 4 GPUs")


def refused_by_queue(snapshot: Snapshot, waiting: Gang, engine: Engine, text: str) -> None:
    """The only reason is the queue's, and its sentence says `text`."""
    answer = solved(snapshot, waiting, engine)
    assert answer.status is Status.INFEASIBLE
    assert brute_force_agrees(snapshot, waiting, answer)
    (reason,) = answer.reasons
    assert reason.code is ReasonCode.QUEUE
    assert says(reason, text)


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        ({"cpu": 7000}, "queue q … 7 CPUs left … limit of 7 CPUs … needs 8 CPUs"),
        (
            {"memory": 15 * GIB},
            "queue q … 15 GiB memory left … limit of 15 GiB memory … needs 16 GiB memory",
        ),
    ],
)
@each_engine
def test_other_resources(limits: dict[str, int], text: str, engine: Engine) -> None:
    """CPU and memory have limits like GPUs."""
    ((name, limit),) = limits.items()
    waiting = gang(role("w", 4, 0, 2, memory=4), queue="q")
    needed = {"cpu": 8000, "memory": 16 * GIB}[name]
    refused(of(queue("q", **limits)), waiting, engine, "queue", text, needed=needed, left=limit, limit=limit)
    check_fits((of(queue("q", **{name: needed})), waiting, 4), engine)


@each_engine
def test_a_queue_that_nobody_describes(engine: Engine) -> None:
    """With other queues in the input an unknown one holds nothing; the reason names it."""
    answer = refused(of(*TREE), gang(role("w"), queue="gone"), engine, "queue", "queue gone … not exist")
    assert answer.reasons[0].objects == ("gone",)
    assert brute_force_agrees(of(*TREE), gang(role("w"), queue="gone"), answer)


@each_engine
def test_a_queue_of_other_namespaces(engine: Engine) -> None:
    """It holds nothing of this one; the reason names the queue and whose it is."""
    snapshot, waiting = of(QueueSpec("q", namespaces=("b", "a"))), gang(role("w"), queue="q")
    answer = refused(snapshot, waiting, engine, "queue", "queue q is for namespaces a, b, not for default")
    assert answer.reasons[0].objects == ("q",)
    assert brute_force_agrees(snapshot, waiting, answer)
    many = of(QueueSpec("q", namespaces=tuple(f"n{at}" for at in range(7))))
    refused(many, waiting, engine, "queue", "queue q is for namespaces n0, n1, n2, n3, n4 and 2 more, not for default")


@each_engine
def test_the_default_queue_is_full(engine: Engine) -> None:
    """A gang that names no queue is in that of its namespace, as pods that name none are; the first by name counts."""
    first = QueueSpec("a", {"gpu": 4000}, default_for=("default",))
    snapshot = of(QueueSpec("b", default_for=("default",)), first, pods=(bound("default/x", "n", 1),))
    refused_by_queue(snapshot, gang(role("w", 4)), engine, "queue a … 3 GPUs left … limit of 4 GPUs … needs 4 GPUs")


@each_engine
def test_running_members_count_once(engine: Engine) -> None:
    """A running member uses the limit like a new pod, and not twice although the cluster lists it too."""
    for limit, fine in ((4000, True), (3000, False)):
        snapshot, waiting = with_running(of(queue("q", gpu=limit)), gang(role("w", 4), queue="q"), {"default/w-0": "n"})
        if fine:
            assert nodes_of(placed(snapshot, waiting, engine)) == {f"w-{index}": "n" for index in (1, 2, 3)}
        else:
            refused_by_queue(snapshot, waiting, engine, "queue q … 3 GPUs left … needs 4 GPUs")
