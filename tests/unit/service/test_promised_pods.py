"""Promised pods hold capacity on top of whatever the cluster says, until they are seen."""

import gc
import random
import weakref
from collections.abc import Mapping
from dataclasses import replace
from itertools import count

import pytest
from hypothesis import given, settings

from solver.domain.changes import Change, NodeGone, NodeSet, PodBound, PodGone
from solver.domain.pods import BoundPod
from solver.ledger import Phase, Promise, PromisedPod
from solver.service.held import Applied
from solver.service.promised import PROMISED, PromisedPods
from solver.service.state import Clusters, HeldCluster
from support.builders import amounts, cluster, node
from support.clusters import Objects, meaning, random_change, random_objects
from support.strategies import seeds


def promise(
    at: str, pods: Mapping[str, str], gang: str = "prod/g", revision: int = 1, phase: Phase = Phase.RESERVED
) -> Promise:
    """A promise with id `at`; pods: name in namespace prod → node, one GPU each."""
    holds = (BoundPod(f"prod/{name}", on, amounts(1), gang=gang) for name, on in pods.items())
    promised = tuple(PromisedPod(each, "worker") for each in holds)
    return Promise(at, "prod", gang, phase, promised, 10, 5, revision)


def seen_on(before: Promise, where: Mapping[str, str], revision: int) -> Promise:
    """The promise as the ledger has it once pods were seen."""
    pods = tuple(replace(pod, seen_on=where.get(pod.holds.name, pod.seen_on)) for pod in before.pods)
    phase = Phase.FULFILLED if all(pod.seen_on for pod in pods) else before.phase
    return replace(before, pods=pods, phase=phase, revision=revision)


class Site:
    """A cluster of four nodes of 8 GPUs, and what its hook heard."""

    def __init__(self, *pods: BoundPod) -> None:
        self.heard: list[Mapping[str, str]] = []
        self.cluster = HeldCluster("prod", on_seen=lambda _, where: self.heard.append(dict(where)))
        self.put(*pods)

    def put(self, *pods: BoundPod, nodes: str = "abcd") -> None:
        """A new snapshot."""
        self.cluster.put("7", cluster(*(node(name, rack="r") for name in nodes), pods=pods))
        self.sequence = 0

    def apply(self, *changes: Change) -> None:
        """The next group."""
        self.sequence += 1
        assert isinstance(self.cluster.apply("7", self.sequence, changes), Applied)

    def taken(self, *ignoring: str) -> str:
        """GPUs taken by node, as in `a1 c2`."""
        snapshot = self.cluster.view(ignoring).snapshot
        rows = zip(snapshot.nodes, ((snapshot.allocatable - snapshot.free)[:, 0] // 1000).tolist(), strict=True)
        return " ".join(f"{name}{count}" for name, count in rows if count)

    @property
    def version(self) -> int:
        """Version shown."""
        return self.cluster.view().version


def real(name: str, at: str, uid: str = "") -> BoundPod:
    """A bound pod of one GPU."""
    return BoundPod(f"prod/{name}", at, amounts(1), uid=uid)


def test_promises_hold_until_they_end() -> None:
    """Reserved and confirmed hold, released gives back; only a change of what is held is a new version."""
    site = Site()
    first = promise("1", {"p": "a", "q": "b"})
    versions = [site.version]
    for step, taken in (
        (first, "a1 b1"),
        (replace(first, phase=Phase.CONFIRMED, revision=2), "a1 b1"),
        (promise("2", {"r": "a"}, gang="prod/h"), "a2 b1"),
        (replace(first, phase=Phase.RELEASED, revision=3), "a1"),
    ):
        site.cluster.promise([step])
        assert site.taken() == taken
        versions.append(site.version)
    assert versions == [1, 2, 2, 3, 4]
    held = [pod.uid for pod in site.cluster.view().snapshot.pods]
    assert held == ["promise/2/prod/r"]
    told = site.cluster.describe()
    assert (told.pods, told.promised_pods) == (0, 1)


def test_older_news_change_nothing() -> None:
    """Threads may deliver promises in any order: a released promise does not come back."""
    site = Site()
    first = promise("1", {"p": "a"})
    released = replace(first, phase=Phase.RELEASED, revision=5)
    site.cluster.promise([released])
    for stale in (first, replace(first, phase=Phase.CONFIRMED, revision=4), released):
        site.cluster.promise([stale])
        assert site.taken() == ""
    assert site.version == 1
    assert site.cluster.describe().promised_pods == 0


def test_a_question_may_ignore_gangs() -> None:
    """A gang that is planned again does not stand in its own way, others do."""
    site = Site(real("x", "d"))
    site.cluster.promise([promise("1", {"p": "a"}), promise("2", {"q": "b"}, gang="prod/h")])
    assert site.taken() == "a1 b1 d1"
    assert site.taken("prod/g") == "b1 d1"
    assert site.taken("prod/h", "prod/none") == "a1 d1"
    assert site.taken("prod/g", "prod/h") == "d1"
    whole, part = site.cluster.view(), site.cluster.view(["prod/g"])
    assert whole.version == part.version == part.snapshot.version
    assert site.cluster.view(["prod/g"]).snapshot is part.snapshot
    assert site.cluster.view(["prod/none"]).snapshot is whole.snapshot


def test_questions_of_many_gangs_fill_no_memory() -> None:
    """While the state stays, each of many gangs gets its own view, and few of them are kept."""
    site = Site()
    site.cluster.promise([promise(f"{at}", {f"p{at}": "a"}, gang=f"prod/g{at}") for at in range(40)])
    views = [weakref.ref(site.cluster.view([f"prod/g{at}"]).snapshot) for at in range(40)]
    assert site.taken("prod/g7") == "a39"
    gc.collect()
    assert sum(view() is not None for view in views) <= 16


def test_a_pod_seen_bound_anywhere_is_not_held_any_more() -> None:
    """In the same version in which the pod appears, its promise ends, and the hook hears of it once."""
    site = Site()
    first = promise("1", {"p": "a", "q": "b"})
    site.cluster.promise([first])
    site.apply(PodBound(real("p", "c", "u1")))
    assert (site.taken(), site.version) == ("b1 c1", 3)
    assert site.heard == [{"prod/p": "c"}]
    site.apply(PodBound(real("p", "c", "u1")), PodGone("u1", ""))
    assert (site.taken(), site.heard) == ("b1", [{"prod/p": "c"}])
    site.cluster.promise([seen_on(first, {"prod/p": "c"}, 2)])
    assert site.taken() == "b1"
    site.apply(PodBound(real("q", "b")), PodGone("", "prod/q"))
    assert site.taken() == "", "a pod that came and went within one group was there"
    assert site.heard[1:] == [{"prod/q": "b"}]
    assert site.cluster.describe().promised_pods == 0


def test_a_pod_that_was_seen_stays_seen_while_its_promise_says_nothing_of_it() -> None:
    """News of a promise that were on their way when the pod came and went do not bring the room back."""
    site = Site()
    first = promise("1", {"p": "a", "q": "b"})
    site.cluster.promise([first])
    site.apply(PodBound(real("p", "c", "u1")), PodGone("u1", ""))
    site.cluster.promise([replace(first, phase=Phase.CONFIRMED, revision=2)])
    assert (site.taken(), site.heard) == ("b1", [{"prod/p": "c"}])


def test_promises_survive_a_new_snapshot() -> None:
    """They are held on top of it again, but for those it shows bound; what the ledger was not told is told again."""
    site = Site()
    first = promise("1", {"p": "a", "q": "b", "r": "c"})
    site.cluster.promise([first])
    site.put(real("q", "d", "u"))
    assert (site.taken(), site.version) == ("a1 c1 d1", 3)
    assert site.heard == [{"prod/q": "d"}]
    site.put()
    assert site.taken() == "a1 c1"
    assert site.heard == [{"prod/q": "d"}] * 2
    site.cluster.promise([seen_on(first, {"prod/q": "d"}, 2)])
    site.put()
    assert (site.taken(), len(site.heard)) == ("a1 c1", 2)


def test_promises_wait_for_the_first_snapshot() -> None:
    """What a ledger held before the service began is held, or seen, as soon as there is a state."""
    heard = []
    clusters = Clusters()
    clusters.on_seen(lambda name, where: heard.append((name, dict(where))))
    clusters.on_new(lambda found: found.promise([promise("1", {"p": "a", "q": "a"})]))
    found = clusters.of("prod")
    found.put("7", cluster(node("a"), pods=[real("q", "a", "u")]))
    assert sorted(pod.uid for pod in found.view().snapshot.pods) == ["promise/1/prod/p", "u"]
    assert heard == [("prod", {"prod/q": "a"})]


def test_a_promise_of_a_pod_that_is_bound_already_is_seen_at_once() -> None:
    """The pod may have come before its promise was heard of."""
    site = Site(real("p", "d", "u"))
    site.cluster.promise([promise("1", {"p": "a", "q": "b"})])
    assert (site.taken(), site.heard) == ("b1 d1", [{"prod/p": "d"}])


def test_a_promised_pod_whose_node_is_gone_is_kept_in_mind() -> None:
    """It is not held while the node is missing, and held again once it is back; so also over snapshots."""
    site = Site()
    site.cluster.promise([promise("1", {"p": "a", "q": "b"})])
    site.apply(NodeGone("a"))
    assert (site.taken(), site.cluster.describe().promised_pods) == ("b1", 2)
    assert site.taken("prod/g") == ""
    site.apply(NodeSet(node("a", rack="r")))
    assert site.taken() == "a1 b1"
    site.put(nodes="acd")
    assert (site.taken(), site.cluster.describe().promised_pods) == ("a1", 2)
    site.put()
    assert site.taken() == "a1 b1"
    site.apply(NodeGone("b"), NodeSet(node("b")), NodeSet(node("e", gpus=1)))
    assert site.taken() == "a1 b1"


def test_a_promise_may_hold_what_no_node_has() -> None:
    """Resources of promised pods alone are columns too, and can be given back."""
    site = Site()
    pod = BoundPod("prod/p", "a", amounts(1, more={"x/y": 3}))
    first = Promise("1", "prod", "prod/g", Phase.RESERVED, (PromisedPod(pod, "worker"),), 1, 1, 1)
    site.cluster.promise([first])
    snapshot = site.cluster.view().snapshot
    assert snapshot.free[:, snapshot.resources.index("x/y")].tolist() == [-3, 0, 0, 0]
    assert site.taken("prod/g") == ""
    site.cluster.promise([replace(first, phase=Phase.EXPIRED, revision=2)])
    assert not site.cluster.view().snapshot.free[:, -1].any()


def test_several_promises_may_await_one_pod() -> None:
    """Each holds until the pod is seen, and one that ends does not end the other."""
    site = Site()
    one, other = promise("1", {"p": "a"}), promise("2", {"p": "b"}, gang="prod/h")
    site.cluster.promise([one, other])
    site.cluster.promise([replace(one, phase=Phase.EXPIRED, revision=2)])
    assert site.taken() == "b1"
    site.cluster.promise([promise("3", {"p": "c"}, gang="prod/i")])
    site.apply(PodBound(real("p", "d", "u")))
    assert (site.taken(), site.heard) == ("d1", [{"prod/p": "d"}])


def test_ended_promises_are_not_remembered_for_ever() -> None:
    """Their number is bounded; the newest are known."""
    book = PromisedPods()
    for at in range(10_050):
        book.take(promise(str(at), {}, phase=Phase.RELEASED))
    assert not book.take(promise("10049", {"p": "a"}))
    assert book.take(promise("0", {"p": "a"}))
    assert len(book) == 1


@pytest.mark.parametrize("told", [True, False], ids=["told", "untold"])
@settings(deadline=None)
@given(seed=seeds())
def test_random_changes_and_promises_equal_dictionaries(told: bool, seed: int) -> None:
    """Objects plus the promised pods not yet seen whose node is there: that is the state, whatever happened."""
    rng = random.Random(seed)
    objects = random_objects(rng, most_nodes=6)
    promises: dict[str, Promise] = {}
    seen: set[tuple[str, str]] = set()
    found = HeldCluster("prod")
    found.put("b", objects.snapshot())
    version, sequence, revisions = 1, 0, count()
    for step in range(12):
        kind = rng.choice(("promise", "end", "group", "group", "put"))
        group: list[Change] = []
        if kind == "promise":
            nodes = [*sorted(objects.nodes), "n99"]
            pods = {f"p{at}": rng.choice(nodes) for at in rng.sample(range(20), 3)}
            promises[str(step)] = promise(str(step), pods, f"prod/g{rng.randint(0, 1)}", revision=next(revisions))
            found.promise([promises[str(step)]])
        elif kind == "end" and promises:
            ended = promises.pop(rng.choice(sorted(promises)))
            found.promise([replace(ended, phase=Phase.RELEASED, revision=next(revisions))])
        elif kind == "group":
            sequence += 1
            for _ in range(rng.randint(1, 4)):
                group.append(random_change(rng, objects))
                objects.apply(group[-1])
            found.apply("b", sequence, group)
        elif kind == "put":
            sequence = 0
            found.put("b", objects.snapshot())
        pods = [*objects.pods.values(), *(change.pod for change in group if isinstance(change, PodBound))]
        bound = {pod.name for pod in pods if pod.nominated_priority is None}
        seen |= {(each.id, pod.name) for each in promises.values() for pod in each.held() if pod.name in bound}
        if told:
            for each in list(promises.values()):
                where = {name: "n" for at, name in seen if at == each.id}
                promises[each.id] = seen_on(each, where, revision=next(revisions))
                found.promise([promises[each.id]])
        view = found.view()
        assert meaning(view.snapshot) == meaning(_with_promised(objects, promises, seen).snapshot())
        gang = {at: each for at, each in promises.items() if each.gang != "prod/g0"}
        without = found.view(["prod/g0"]).snapshot
        assert meaning(without) == meaning(_with_promised(objects, gang, seen).snapshot())
        assert view.version >= version
        version = view.version


def _with_promised(objects: Objects, promises: Mapping[str, Promise], seen: set[tuple[str, str]]) -> Objects:
    pods = dict(objects.pods)
    for each in promises.values():
        for pod in each.held():
            if (each.id, pod.name) not in seen and pod.node in objects.nodes:
                uid = f"{PROMISED}{each.id}/{pod.name}"
                pods["uid", uid] = replace(pod, uid=uid, gang=each.gang)
    return replace(objects, pods=pods)
