"""The auditor finds every violation that is planted in a made-up history, and nothing in a clean one."""

from collections.abc import Sequence
from typing import Any

import pytest

from support.audit.amounts import milli, pod_takes
from support.audit.judge import Findings, Outage, judged
from support.audit.minimums import is_whole
from support.audit.sightings import GANGS, NODES, PLACEMENTS, PODS, Sighting, key_of, read
from support.controlplane.fleet import gpu_node, gpu_pod

GRACE_S = 10.0
ROOT = {"roles": [{"name": "prefill", "replicas": 1}, {"name": "decode", "replicas": 3, "min": 2}]}


class History:
    """What the auditor is shown, one version after another, a second apart."""

    def __init__(self) -> None:
        self.sightings: list[Sighting] = []
        self.at_s = 0.0

    def see(self, kind: str, body: dict[str, Any], gone: bool = False) -> None:
        """One change."""
        self.at_s += 1.0
        seen = None if gone else read(kind, body)
        self.sightings.append(Sighting(len(self.sightings) + 1, self.at_s, kind, key_of(body), seen))

    def node(self, name: str, gpus: int = 8, gone: bool = False) -> None:
        """A node comes, or goes."""
        self.see(NODES, gpu_node(name, gpus=gpus), gone)

    def gang(self, gone: bool = False) -> None:
        """The gang of ROOT comes, or goes."""
        self.see(GANGS, {"metadata": {"namespace": "ns", "name": "g"}, "spec": {"root": ROOT}}, gone)

    def placement(self, **nodes: str) -> None:
        """The Placement of the gang says which pod goes where."""
        seats = [{"uid": f"uid-{pod}", "node": node} for pod, node in nodes.items()]
        spec = {"gang": "ns/g", "assignments": seats}
        self.see(PLACEMENTS, {"metadata": {"namespace": "ns", "name": "g"}, "spec": spec, "status": {}})

    def member(self, name: str, node: str = "", gpus: int = 2, gone: bool = False, **more: Any) -> None:
        """A pod of the gang, bound or not."""
        role = {"p": "prefill", "d": "decode"}[name[0]]
        labels = {"huddle.scheduler/gang": "g", "huddle.scheduler/role": role}
        self.pod(name, node, gpus, gone, labels, **more)

    def pod(
        self,
        name: str,
        node: str = "",
        gpus: int = 2,
        gone: bool = False,
        labels: dict[str, str] | None = None,
        phase: str = "Pending",
        **metadata: str,
    ) -> None:
        """Any pod."""
        body = gpu_pod(name, gpus, labels=labels, **({"nodeName": node} if node else {}))
        body["metadata"] |= {"namespace": "ns", "uid": f"uid-{name}", **metadata}
        self.see(PODS, {**body, "status": {"phase": phase}}, gone)

    def wait(self, seconds: float) -> None:
        """Nothing happens."""
        self.at_s += seconds

    def findings(self, outages: Sequence[Outage] = (), planned: bool = True, guarded: bool = False) -> Findings:
        """The verdict on it all; the order in which sightings were delivered must not matter."""
        return judged(reversed(self.sightings), GRACE_S, self.at_s, outages, planned, guarded)

    def rules(self, **options: Any) -> list[tuple[str, int]]:
        """Rules that were broken, and at which version."""
        return [(violation.rule, violation.version) for violation in self.findings(**options).violations]


@pytest.fixture
def history() -> History:
    """Two nodes and a gang that is planned onto them."""
    history = History()
    history.node("n1")
    history.node("n2")
    history.gang()
    history.placement(p0="n1", d0="n1", d1="n2", d2="n2")
    return history


def bind_all(history: History) -> None:
    """The gang is bound as planned."""
    for pod, node in {"p0": "n1", "d0": "n1", "d1": "n2", "d2": "n2"}.items():
        history.member(pod)
        history.member(pod, node)


def test_a_clean_history(history: History) -> None:
    """A gang comes, is bound as planned, and goes; how long it was partial is told."""
    bind_all(history)
    found = history.findings()
    assert found.violations == ()
    assert (found.versions, found.bindings, found.most_partial) == (12, 4, 1)
    assert found.partial_s == 4.0
    history.gang(gone=True)
    for pod, node in {"p0": "n1", "d0": "n1"}.items():
        history.member(pod, node, gone=True)
    history.wait(100)
    assert history.rules() == []


@pytest.mark.parametrize("room", ["nvidia.com/gpu", "cpu", "pods"])
def test_overcommit_of_any_resource(room: str) -> None:
    """It shows at the binding that is too much, whoever's pod it is."""
    history = History()
    node = gpu_node("n1")
    node["status"]["allocatable"] = {**node["status"]["allocatable"], room: "4"}
    history.see(NODES, node)
    gpus = 2 if room == "nvidia.com/gpu" else 0
    for at in range(5):
        history.pod(f"x{at}", "n1", gpus)
    first = 4 if room == "nvidia.com/gpu" else 6
    assert history.rules()[0] == ("overcommit", first)


def test_overcommit_for_one_moment_only(history: History) -> None:
    """A pod that takes too much and goes at once is found; one that has ended takes nothing, one that leaves does."""
    history.pod("a", "n1", 8)
    history.pod("b", "n1", 8)
    history.pod("b", "n1", 8, gone=True)
    assert history.rules() == [("overcommit", 6)]
    history.pod("a", "n1", 8, phase="Succeeded")
    history.pod("c", "n1", 8)
    assert len(history.rules()) == 1
    history.pod("c", "n1", 8, deletionTimestamp="2026-01-01T00:00:00Z")
    history.pod("d", "n1", 1)
    assert history.rules()[1:] == [("overcommit", 11)]


def test_a_pod_counts_once_however_often_it_is_seen(history: History) -> None:
    """Updates of a bound pod take nothing more, and a node that shrinks under it is nobody's fault."""
    for _ in range(3):
        history.pod("a", "n1", 8)
    history.node("n1", gpus=4)
    history.pod("a", "n1", 8)
    assert history.rules() == []


def test_a_gang_that_stays_partial(history: History) -> None:
    """It is found when it is over, and also when it never is; the grace itself is allowed."""
    history.member("p0", "n1")
    history.wait(GRACE_S)
    assert history.rules() == []
    history.wait(0.1)
    assert history.rules() == [("partial", 5)]
    history.member("d0", "n1")
    history.member("d1", "n2")
    history.wait(100)
    assert history.rules() == [("partial", 7)]


def test_time_without_a_server_does_not_count(history: History) -> None:
    """While the API server is away nobody can complete a gang."""
    history.member("p0", "n1")
    began_s = history.at_s
    history.wait(3 * GRACE_S)
    outages = [Outage(began_s - 5, began_s + GRACE_S), Outage(began_s + 2 * GRACE_S, began_s + 4 * GRACE_S)]
    assert history.rules(outages=outages) == []
    assert history.rules(outages=outages[:1]) == [("partial", 5)]


def test_lost_members_make_a_gang_partial(history: History) -> None:
    """Those on a node that is gone, those that leave and those that have ended do not count; elastic ones may lack."""
    bind_all(history)
    history.member("d2", "n2", gone=True)
    history.wait(100)
    assert history.rules() == []
    history.node("n2", gone=True)
    history.wait(2 * GRACE_S)
    history.node("n2")
    assert history.rules() == [("partial", len(history.sightings))]
    history.member("d0", "n1", deletionTimestamp="2026-01-01T00:00:00Z")
    history.wait(2 * GRACE_S)
    assert [rule for rule, _ in history.rules()] == ["partial", "partial"]


def test_giving_everything_back_ends_it(history: History) -> None:
    """A gang of which nothing is bound is not partial."""
    history.member("p0", "n1")
    history.member("d0", "n1")
    history.wait(5)
    history.member("p0", "n1", gone=True)
    history.member("d0", "n1", gone=True)
    history.wait(100)
    assert history.rules() == []


def test_members_are_bound_where_their_placement_says(history: History) -> None:
    """Elsewhere, before the Placement, or as a successor without a seat: each is found, unless nobody asks."""
    history.member("d0", "n2")
    history.member("d1", "n2", uid="uid-of-a-successor")
    assert [rule for rule, _ in history.rules()] == ["unplanned", "unplanned"]
    assert history.rules(planned=False) == []
    messages = [violation.message for violation in history.findings().violations]
    assert messages == ["bound to n2, but its Placement only ever said n1", "bound to n2, but it never had a seat"]
    history.placement(d0="n2", d2="n1")
    history.member("d2", "n2")
    assert len(history.rules()) == 2
    early = History()
    early.node("n1")
    early.gang()
    early.member("p0", "n1")
    early.placement(p0="n1")
    assert early.rules() == [("unplanned", 3)]


def test_promised_amounts_are_nobody_elses(history: History) -> None:
    """A pod of no gang may have what a node has beyond its promises, and what nobody waits for any more."""
    history.member("p0", gpus=4)
    history.member("d0", gpus=2)
    history.pod("fits", "n1", 2)
    assert history.rules(guarded=True) == []
    history.pod("steals", "n1", 1)
    assert history.rules(guarded=True) == [("stolen", len(history.sightings))]
    assert history.rules() == []
    history.member("p0", gpus=4, gone=True)
    history.pod("late", "n1", 2)
    assert len(history.rules(guarded=True)) == 1


@pytest.mark.parametrize(
    ("root", "bound", "whole"),
    [
        (ROOT, {"prefill": 1, "decode": 2}, True),
        (ROOT, {"prefill": 1, "decode": 1}, False),
        (ROOT, {"decode": 3}, False),
        ({**ROOT, "min": 1}, {"decode": 3}, True),
        ({"groups": [{"name": "w", "replicas": 4, "min": 2, **ROOT}]}, {"prefill": 2, "decode": 4}, True),
        ({"groups": [{"name": "w", "replicas": 4, "min": 2, **ROOT}]}, {"prefill": 2, "decode": 3}, False),
        ({"groups": [{"name": "w", "replicas": 2, "roles": ROOT["roles"][:1]}]}, {"prefill": 1}, False),
    ],
)
def test_minimums(root: dict[str, Any], bound: dict[str, int], whole: bool) -> None:
    """Minimums of roles, of replicas of a group, and of children."""
    assert is_whole(root, bound) is whole


def test_amounts() -> None:
    """Quantities of every form; a pod takes the larger of its containers and of what starts them, and its overhead."""
    assert [milli(text) for text in ("1", "250m", "1.5", "1Ki", "2k", 3, "0")] == [
        1000,
        250,
        1500,
        1024000,
        2 * 10**6,
        3000,
        0,
    ]
    pod = gpu_pod("p", 2)
    one = pod["spec"]["containers"][0]
    first = {"name": "first", "resources": {"requests": {"cpu": "3", "memory": "1Mi"}}}
    side = {"name": "side", "restartPolicy": "Always", "resources": {"requests": {"cpu": "500m"}}}
    pod["spec"] |= {"containers": [one, {**one, "name": "two"}], "initContainers": [side, first]}
    pod["spec"]["overhead"] = {"cpu": "100m"}
    taken = pod_takes(pod)
    assert taken["cpu"] == 3600
    assert taken["nvidia.com/gpu"] == 4000
    assert taken["memory"] == 2 * 2**30 * 1000
    assert taken["pods"] == 1000
