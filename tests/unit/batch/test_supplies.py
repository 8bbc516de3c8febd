"""How many gangs there can be room for, by counting."""

from solver.batch.supplies import device_needs, most_by_class, supplies
from solver.domain.accelerators import KNOWN_ACCELERATORS
from solver.domain.constraints import UNSCHEDULABLE, NodeConstraints, Toleration
from solver.domain.gang import Gang
from solver.domain.resources import GPU, MAX_AMOUNT
from solver.domain.snapshot import Snapshot
from support.builders import cluster, constraints, gang, group, node, queue, role


def most(site: Snapshot, gangs: list[Gang], *classes: list[int], admitted: list[int] | None = None) -> list[int]:
    """The most of each class, with nothing said of how many are admitted unless told."""
    return most_by_class(supplies(site, gangs), classes, admitted or [-1] * len(classes))


def pair(size: float, name: str, **more: float | str | NodeConstraints) -> Gang:
    """Two pods of so many GPUs each."""
    return gang(role("w", 2, size, **more), name=f"ns/{name}")  # type: ignore[arg-type]


def test_the_smallest_fit_first() -> None:
    """Eight GPUs hold the two smallest of gangs of 4, 6 and 2; another GPU would not help."""
    gangs = [pair(2, "a"), pair(3, "b"), pair(1, "c")]
    assert most(cluster(node("n", 8)), gangs, [0, 1, 2]) == [2]
    assert most(cluster(node("n", 12)), gangs, [0, 1, 2]) == [3]


def test_parts_of_nodes_do_not_add_up() -> None:
    """Twelve free GPUs in threes hold no pod of four, and four nodes of six hold four, not six."""
    gangs = [pair(4, name) for name in "abc"]
    assert most(cluster(*(node(f"n{at}", 3) for at in range(4))), gangs, [0, 1, 2]) == [0]
    assert most(cluster(*(node(f"n{at}", 6) for at in range(4))), gangs, [0, 1, 2]) == [2]


def test_room_beyond_64_bits_is_room() -> None:
    """Many nodes of the largest amount hold every gang, in whatever unit is counted."""
    site = cluster(*(node(f"n{at}", more={"fast": MAX_AMOUNT}) for at in range(2200)))
    gangs = [gang(role("w", 2, 0, more={"fast": 1}), name=f"ns/{name}") for name in "ab"]
    assert most(site, gangs, [0, 1]) == [2]


def test_large_pods_take_room_of_small_ones() -> None:
    """A pod of four takes the room of two pods of two."""
    gangs = [pair(4, "large"), pair(2, "small"), pair(2, "other")]
    assert most(cluster(node("n", 8), node("m", 3)), gangs, [0, 1, 2]) == [2]


def test_other_resources_and_closed_nodes_count() -> None:
    """Cores run out before GPUs do; a cordoned node has nothing; a node holds so many pods."""
    gangs = [pair(1, name, cpu=4) for name in "abc"]
    assert most(cluster(node("n", 8, cpu=17)), gangs, [0, 1, 2]) == [2]
    assert most(cluster(node("n", 8), node("m", 8, schedulable=False)), [pair(4, "a"), pair(4, "b")], [0, 1]) == [1]
    assert most(cluster(node("n", 8, pods=5)), gangs, [0, 1, 2]) == [2]


def test_nodes_that_are_open_to_one_gang_count_for_all() -> None:
    """What is counted is a bound, whoever tolerates the cordon."""
    brave = pair(4, "a", where=constraints(tolerations=[Toleration(UNSCHEDULABLE.key, exists=True)]))
    site = cluster(node("n", 8), node("m", 8, schedulable=False))
    assert most(site, [brave, pair(4, "b")], [0, 1]) == [2]


def test_what_higher_classes_take_is_gone_once_they_are_at_their_most() -> None:
    """Eight GPUs, a gang of six above two of four: none of the lower fits when the upper one is in, else two may."""
    gangs = [pair(3, "high"), pair(2, "low"), pair(2, "lower")]
    site = cluster(node("n", 8))
    assert most(site, gangs, [0], [1, 2], admitted=[1, 0]) == [1, 0]
    assert most(site, gangs, [0], [1, 2], admitted=[0, 0]) == [1, 2]


def test_gangs_of_a_queue_share_its_room() -> None:
    """A limit of five GPUs on the parent holds two gangs of two of its children; one without a queue is apart."""
    site = cluster(node("n", 16), queues=[queue("top", gpu=5000), queue("a", "top"), queue("b", "top")])
    gangs = [gang(role("w", 2), name=f"ns/{at}", queue=name) for at, name in enumerate("aabb")]
    assert most(site, gangs, [0, 1, 2, 3]) == [2]
    assert most(site, [*gangs, gang(role("w", 2), name="ns/free")], [0, 1, 2, 3, 4]) == [3]


def test_elastic_gangs_need_their_least() -> None:
    """The cheapest choice that meets every minimum counts, resource by resource; running members need nothing more."""
    either = group("either", group("big", role("big", 1, 4)), group("two", role("two", 2, 1)), min=1)
    elastic = gang(either, role("router", 1, 0), role("extra", 3, 2, min=1), name="ns/e")
    known = KNOWN_ACCELERATORS
    assert device_needs([elastic], known) == {(GPU, 1000): (4,), (GPU, 2000): (1,), (GPU, 4000): (0,)}
    running = gang(role("w", 2), name="ns/r", running={"ns/w-0": "n"})
    assert device_needs([running], known) == {(GPU, 1000): (0,)}
    assert most(cluster(node("n", 0)), [elastic, running], [0, 1]) == [1]
