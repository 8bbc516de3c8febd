"""What Placements promise, as others find it in the held state."""

from adapters.apply.promised import Promised
from adapters.kubernetes.placements import Phase, PlacementRecord, Seat
from solver.domain.pods import BoundPod
from solver.service.state import HeldCluster
from support.builders import amounts, cluster, node

UIDS = {"p": "uid-p", "q": "uid-q"}


def state(*nodes: str) -> HeldCluster:
    """Nodes of 8 GPUs each."""
    held = HeldCluster("prod")
    held.put("7", cluster(*(node(name) for name in nodes)))
    return held


def record(gang: str = "g", attempt: int = 1, uid: str = "u", **nodes: str) -> PlacementRecord:
    """Pod → node, reserved."""
    seats = tuple(Seat(f"ns/{pod}", UIDS[pod], "w", where) for pod, where in nodes.items())
    return PlacementRecord("ns", gang, f"ns/{gang}", uid, "1", phase=Phase.RESERVED, seats=seats, attempt=attempt)


def waiting(*pods: str) -> dict[str, BoundPod]:
    """Pods of 4 GPUs that are not bound."""
    return {UIDS[pod]: BoundPod(f"ns/{pod}", "", amounts(4), uid=UIDS[pod]) for pod in pods}


def free(held: HeldCluster) -> dict[str, int]:
    """Free GPUs by node."""
    snapshot = held.view().snapshot
    return dict(zip(snapshot.nodes, (snapshot.free[:, 0] // 1000).tolist(), strict=True))


def test_seats_of_pods_that_wait_are_taken() -> None:
    """Those of bound pods are not: these take their room themselves."""
    held = state("a", "b")
    promised = Promised(held)
    assert not promised.know("ns/g", record(p="a", q="b"), waiting("p"))
    assert free(held) == {"a": 4, "b": 8}
    assert [(pod.name, pod.node) for pod in promised.pods()] == [("ns/p", "a")]
    assert promised.know("ns/g", None, {})
    assert free(held) == {"a": 8, "b": 8}
    assert not promised.is_holding("ns/g")


def test_what_a_placement_says_is_promised_until_it_says_something_else() -> None:
    """While a new plan is written, both plans' seats are taken, those in both once; then the new ones'."""
    held = state("a", "b", "c")
    promised = Promised(held)
    promised.know("ns/g", record(p="a", q="b"), waiting("p", "q"))
    moved = record(attempt=2, p="c", q="b")
    assert not promised.know("ns/g", moved, waiting("p", "q"), is_written=False)
    assert free(held) == {"a": 4, "b": 4, "c": 4}
    assert sorted((pod.name, pod.node) for pod in promised.pods()) == [("ns/p", "a"), ("ns/p", "c"), ("ns/q", "b")]
    assert promised.know("ns/g", moved, waiting("p", "q"))
    assert free(held) == {"a": 8, "b": 4, "c": 4}


def test_a_plan_that_could_not_be_written_is_forgotten() -> None:
    """What the Placement says is promised as before."""
    held = state("a", "b")
    promised, before = Promised(held), record(p="a")
    promised.know("ns/g", before, waiting("p"))
    promised.know("ns/g", record(attempt=2, p="b"), waiting("p"), is_written=False)
    assert promised.know("ns/g", before, waiting("p"))
    assert free(held) == {"a": 4, "b": 8}


def test_first_plans_of_several_gangs_are_written_at_once() -> None:
    """Their Placements do not exist yet, so nothing but the gang tells them apart."""
    held = state("a", "b")
    promised = Promised(held)
    promised.know("ns/g", record("g", uid="", p="a"), waiting("p"), is_written=False)
    promised.know("ns/h", record("h", uid="", q="b"), waiting("q"), is_written=False)
    assert free(held) == {"a": 4, "b": 4}


def test_a_pod_that_is_seen_bound_takes_no_seat_of_either_plan() -> None:
    """Wherever it is bound."""
    held = state("a", "b")
    promised = Promised(held)
    promised.know("ns/g", record(p="a"), waiting("p"))
    promised.know("ns/g", record(attempt=2, p="b"), waiting("p"), is_written=False)
    held.put("8", cluster(node("a"), node("b"), pods=[BoundPod("ns/p", "a", amounts(4), uid="uid-p")]))
    assert free(held) == {"a": 4, "b": 8}
