"""What cannot be read is told, and keeps pods away rather than letting them in."""

import asyncio
from typing import Any

import pytest

from adapters.kubernetes.api import Api
from adapters.kubernetes.decoding import Body
from adapters.kubernetes.mirror import Mirror, News
from adapters.kubernetes.resources import (
    CLAIMS,
    KAI_TOPOLOGIES,
    MIRRORED,
    NODES,
    PODS,
    PRIORITY_CLASSES,
    QUEUES,
    STORAGE_CLASSES,
    VOLUMES,
    Resource,
)
from adapters.kubernetes.storage import claims_of
from adapters.kubernetes.watching import Event, Verb
from solver.domain.accelerators import Accelerators
from solver.domain.constraints import Toleration
from solver.domain.plan import Status
from solver.domain.resources import CPU, GPU, MEMORY
from solver.domain.snapshot import Snapshot, build_snapshot
from solver.planner import plan
from solver.service.state import HeldCluster
from support.builders import constraints, gang, role


def body(name: str, namespace: str = "", version: str = "1", labels: Any = None, **fields: Any) -> Body:
    """An object."""
    metadata = {"name": name, "namespace": namespace, "uid": f"uid-{name}", "resourceVersion": version}
    return {"metadata": metadata | {"labels": labels or {}}, **fields}


def node(name: str, gpus: str = "8", **spec: Any) -> Body:
    """A node."""
    return body(name, spec=spec, status={"allocatable": {"nvidia.com/gpu": gpus}})


def pod(name: str, at: str, gpus: str = "1", **fields: Any) -> Body:
    """A bound pod."""
    containers = [{"name": "main", "resources": {"requests": {"nvidia.com/gpu": gpus}}}]
    return body(name, "a", spec={"nodeName": at, "containers": containers}, **fields)


def topology(name: str, **level: str) -> Body:
    """A Topology of KAI with one level."""
    return body(name, kind="Topology", apiVersion="kai.scheduler/v1alpha1", spec={"levels": [level]})


def filled(*objects: tuple[Resource, Body], held: HeldCluster | None = None) -> Mirror:
    """A mirror of these objects."""
    mirror = Mirror(Api(), held)
    for resource in MIRRORED:
        mirror.listed(resource, resource.versions[0], [each for kind, each in objects if kind is resource])
    return mirror


def change(mirror: Mirror, resource: Resource, *bodies: Body, verb: Verb = Verb.MODIFIED) -> None:
    """Something changes."""
    mirror.changed(resource, [Event(verb, each) for each in bodies])


def free(mirror: Mirror) -> dict[str, int]:
    """Whole GPUs that new pods may use, by node."""
    snapshot: Snapshot = mirror.held.view().snapshot
    return dict(zip(snapshot.nodes, snapshot.whole_free_gpus.tolist(), strict=True))


def test_a_pod_that_cannot_be_read_closes_its_node() -> None:
    """Nobody knows what it holds, so nothing new may go there until it can be read or is gone."""
    mirror = filled((NODES, node("n1")), (NODES, node("n2")), (PODS, pod("p", "n1", "half")))
    assert free(mirror) == {"n1": 0, "n2": 8}
    assert "half" in mirror.problems["Pod a/p"]
    change(mirror, PODS, pod("p", "n2", "-1"))
    assert free(mirror) == {"n1": 8, "n2": 0}
    change(mirror, PODS, pod("p", "n2", "3"))
    assert free(mirror) == {"n1": 8, "n2": 5}
    assert not mirror.problems
    change(mirror, PODS, pod("p", "n2", "x"), pod("q", "n2", "y"))
    change(mirror, PODS, pod("p", "n2"), verb=Verb.DELETED)
    assert free(mirror) == {"n1": 8, "n2": 0}
    change(mirror, PODS, pod("q", "n2", "y", status={"phase": "Failed"}))
    assert free(mirror) == {"n1": 8, "n2": 8}
    assert not mirror.problems


def test_a_pod_that_cannot_be_read_closes_its_node_to_everybody() -> None:
    """Who tolerates a cordon does not know either what is left there."""
    mirror = filled((NODES, node("n1")), (PODS, pod("p", "n1", "half")))
    where = constraints(tolerations=[Toleration(exists=True)])
    site = mirror.held.view().snapshot
    assert plan(site, [gang(role("w", where=where))]).status is Status.INFEASIBLE
    change(mirror, PODS, pod("p", "n1", "3"))
    change(mirror, NODES, node("n1", unschedulable=True))
    site = mirror.held.view().snapshot
    assert plan(site, [gang(role("w", where=where))]).status is Status.OPTIMAL


def sharing(name: str, group: str, at: str = "n1") -> Body:
    """A pod with half a GPU; group: its device, or empty."""
    labels = {"runai-gpu-group": group} if group else {}
    found = pod(name, at, "0", labels=labels)
    found["metadata"]["annotations"] = {"gpu-fraction": "0.5"}
    return found


def test_pods_that_share_a_gpu_take_it_once(caplog: pytest.LogCaptureFixture) -> None:
    """Whichever of them goes; the reservation pod of their device holds it instead as long as it is there."""
    mirror = filled((NODES, node("n1")), (PODS, sharing("p", "d")), (PODS, sharing("q", "d")), (PODS, sharing("r", "")))
    assert free(mirror) == {"n1": 6}
    assert not mirror.problems
    change(mirror, PODS, sharing("p", "d"), verb=Verb.DELETED)
    assert free(mirror) == {"n1": 6}
    change(mirror, PODS, pod("held", "n1", "1", labels={"runai-gpu-group": "d"}))
    assert free(mirror) == {"n1": 6}
    change(mirror, PODS, sharing("a", "d"), sharing("q", "e"))
    assert free(mirror) == {"n1": 5}
    change(mirror, PODS, pod("held", "n1", "1"), verb=Verb.DELETED)
    assert free(mirror) == {"n1": 5}
    change(mirror, PODS, sharing("a", "d"), sharing("q", "e"), sharing("r", ""), verb=Verb.DELETED)
    assert free(mirror) == {"n1": 8}
    assert sum("Pod a/r: metadata.annotations[gpu-fraction]" in line for line in caplog.messages) == 1


def waiting(name: str, node: str, gpus: str = "1", **spec: Any) -> Body:
    """A pod that waits for the node it is nominated to."""
    found = pod(name, "", gpus, status={"phase": "Pending", "nominatedNodeName": node})
    found["spec"] |= spec
    return found


def nominated(mirror: Mirror) -> dict[str, tuple[str, int | None]]:
    """Nominated pods: node and priority."""
    return {each.name: (each.node, each.nominated_priority) for each in mirror.held.view().snapshot.nominated}


def test_nominated_pods_are_followed() -> None:
    """As they come, move, are bound and go, and as their PriorityClass does; `free` does not know them."""
    mirror = filled((NODES, node("n1")), (PODS, waiting("p", "n1", priorityClassName="high")))
    assert nominated(mirror) == {"a/p": ("n1", 0)}
    change(mirror, PRIORITY_CLASSES, body("high", value=7))
    assert nominated(mirror) == {"a/p": ("n1", 7)}
    assert free(mirror) == {"n1": 8}
    change(mirror, PODS, waiting("p", "n2", priority=3))
    assert nominated(mirror) == {}
    change(mirror, NODES, node("n2"))
    assert nominated(mirror) == {"a/p": ("n2", 3)}
    change(mirror, PODS, pod("p", "n1"))
    assert (nominated(mirror), free(mirror)) == ({}, {"n1": 7, "n2": 8})
    change(mirror, PODS, waiting("q", "n1", "many"))
    assert (nominated(mirror), free(mirror)) == ({}, {"n1": 7, "n2": 8})
    assert "many" in mirror.problems["Pod a/q"]
    change(mirror, PODS, waiting("q", "n1"))
    change(mirror, PRIORITY_CLASSES, body("low", value="low"))
    change(mirror, PODS, waiting("q", "n1", priority=2))
    assert nominated(mirror) == {"a/q": ("n1", 2)}
    assert "value" in mirror.problems["PriorityClasses"]


def test_room_is_told_where_a_pod_holds_less_than_before() -> None:
    """It was bound, resized or nominated elsewhere; not where it holds more, or says something else."""
    mirror = filled((NODES, node("n1")), (NODES, node("n2")), (PODS, pod("p", "n1", "2")), (PODS, waiting("q", "n1")))
    steps = [
        (pod("p", "n1", "2", labels={"a": "b"}), False),
        (pod("p", "n1", "1"), True),
        (pod("p", "n1", "3"), False),
        (waiting("q", "n1", "2"), False),
        (waiting("q", "n1", "2", priority=2), False),
        (waiting("q", "n1", "2", priority=1), True),
        (waiting("q", "n2", "2", priority=1), True),
        (waiting("q", "n2", "1", priority=1), True),
        (pod("q", "n2", "1"), False),
        (waiting("q", "n2", priority=1), True),
        (pod("q", "n1"), True),
    ]

    async def told() -> list[bool]:
        news, found = mirror.subscribe(), []
        await news.next()  # of everything there is
        for now, _ in steps:
            change(mirror, PODS, now)
            try:
                async with asyncio.timeout(0):
                    found.append((await news.next()).room)
            except TimeoutError:
                found.append(False)
        return found

    assert asyncio.run(told()) == [expected for _, expected in steps]


def test_a_node_that_cannot_be_read_takes_no_pods() -> None:
    """It is as if it were not there; when it can be read its pods still are."""
    mirror = filled((NODES, node("n1", "many")), (PODS, pod("p", "n1", "3")))
    assert free(mirror) == {}
    assert "many" in mirror.problems["Node n1"]
    change(mirror, NODES, node("n1"))
    assert free(mirror) == {"n1": 5}
    assert not mirror.problems
    change(mirror, NODES, node("n1", "none"))
    assert free(mirror) == {}


def test_a_queue_that_cannot_be_read_allows_nothing() -> None:
    """Until it can be read or is gone."""
    mirror = filled((QUEUES, body("q", spec={"resources": {"gpu": {"limit": "much"}}})))
    assert mirror.held.view().snapshot.queues["q"].limits == {GPU: 0, CPU: 0, MEMORY: 0}
    assert "limit" in mirror.problems["Queue q"]
    change(mirror, QUEUES, body("q", spec={}))
    assert mirror.held.view().snapshot.queues["q"].limits == {}
    change(mirror, QUEUES, body("q", spec={}), verb=Verb.DELETED)
    assert not mirror.held.view().snapshot.queues


def test_a_topology_that_cannot_be_read_is_left_out() -> None:
    """Until it can be read."""
    mirror = filled((KAI_TOPOLOGIES, topology("t")))
    assert not mirror.held.view().snapshot.topologies
    assert mirror.problems["Topology t"] == "spec.levels[0].nodeLabel: is missing"
    change(mirror, KAI_TOPOLOGIES, topology("t", nodeLabel="rack"))
    assert set(mirror.held.view().snapshot.topologies) == {"t"}
    assert not mirror.problems


def test_problems_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """When they come and when they go, not every time the object is seen."""
    caplog.set_level("INFO", "huddle.mirror")
    mirror = filled((NODES, node("n1")))
    for _ in range(3):
        change(mirror, PODS, pod("p", "n1", "half"))
    change(mirror, PODS, pod("p", "n1"))
    first, second = caplog.messages
    assert "half" in first
    assert second == "Pod a/p: is well again"


def test_a_held_state_that_somebody_else_changed_is_made_anew(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the reason why a group of changes does not fit, the state is right afterwards."""
    held = HeldCluster("c")
    mirror = filled((NODES, node("n1")), (PODS, pod("p", "n1")), held=held)
    held.put("other", build_snapshot([]))
    change(mirror, PODS, pod("q", "n1", "2"))
    assert free(mirror) == {"n1": 5}
    assert "made anew" in caplog.text
    change(mirror, PODS, pod("r", "n1", "2"))
    assert free(mirror) == {"n1": 3}


def mounting(name: str, claim: str, gang: str = "g") -> Body:
    """A pod of a gang that mounts a claim."""
    volumes = [{"name": "w", "persistentVolumeClaim": {"claimName": claim}}, {"name": "scratch", "ephemeral": {}}]
    return body(name, "a", labels={"huddle.scheduler/gang": gang}, spec={"volumes": volumes})


def test_news_of_volumes_is_for_the_gangs_that_mount_them() -> None:
    """A claim and the volume bound to it are about its pods, a free volume and a class about all that mount any."""

    async def story() -> None:
        mirror = filled((PODS, mounting("p", "c")), (PODS, mounting("q", "d", "h")), (PODS, pod("r", "n1")))
        news = mirror.subscribe()
        await news.next()

        async def told() -> frozenset[str]:
            found = await asyncio.wait_for(news.next(), 5)
            assert not found.room
            return found.gangs

        change(mirror, CLAIMS, body("c", "a", spec={}))
        assert await told() == {"a/g"}
        change(mirror, CLAIMS, body("q-scratch", "a", spec={}))
        assert await told() == {"a/h"}
        change(mirror, VOLUMES, body("v", spec={"claimRef": {"namespace": "a", "name": "d"}}))
        assert await told() == {"a/h"}
        change(mirror, VOLUMES, body("free", spec={}))
        assert await told() == {"a/g", "a/h"}
        change(mirror, STORAGE_CLASSES, body("disks", provisioner="x"))
        assert await told() == {"a/g", "a/h"}
        change(mirror, PODS, mounting("p", "c"), verb=Verb.DELETED)
        assert await told() == {"a/g"}
        change(mirror, CLAIMS, body("c", "a", version="2", spec={"volumeName": "v"}), body("d", "a", spec={}))
        assert await told() == {"a/h"}
        assert [each["metadata"]["name"] for each in mirror.pods_mounting(("a", "d"))] == ["q"]
        assert mirror.pods_mounting(("a", "c")) == ()

    asyncio.run(story())


def test_malformed_volumes_of_pods_are_no_claims() -> None:
    """Whoever reads the pod complains."""
    for volumes in ("many", ["x"], [{"persistentVolumeClaim": 7}], [{"persistentVolumeClaim": {"claimName": 7}}], None):
        assert claims_of(body("p", "a", spec={"volumes": volumes})) == []


def test_what_the_news_says() -> None:
    """Room when nodes, queues, topologies or priorities change or a pod goes; heartbeats and arrivals are none."""

    async def story() -> None:
        mirror = filled((NODES, node("n1")), (PODS, pod("p", "n1", labels={"huddle.scheduler/gang": "g"})))
        news = mirror.subscribe()
        assert await news.next() == News(frozenset({"a/g"}), room=True)

        async def told() -> News | None:
            try:
                return await asyncio.wait_for(news.next(), 0.01)
            except TimeoutError:
                return None

        change(mirror, NODES, node("n1"))
        assert await told() is None
        change(mirror, NODES, node("n1", unschedulable=True))
        assert await told() == News(frozenset({"a/g"}), room=True)
        change(mirror, PODS, pod("foreign", "n1"))
        assert await told() is None
        change(mirror, PODS, pod("foreign", "n1"), verb=Verb.DELETED)
        assert await told() == News(frozenset(), room=True)
        change(mirror, PRIORITY_CLASSES, body("high", value=7))
        assert await told() == News(frozenset(), room=True)
        change(mirror, PODS, pod("p", "n1", labels={"huddle.scheduler/gang": "h"}))
        change(mirror, QUEUES, body("q", spec={}))
        assert await told() == News(frozenset({"a/g", "a/h"}), room=True)

    asyncio.run(story())


def test_a_mirror_may_know_further_accelerators() -> None:
    """They are in the held state from the start and stay there through changes."""
    mirror = Mirror(Api(), accelerators=Accelerators(("example.com/card",)))
    for resource in MIRRORED:
        mirror.listed(resource, resource.versions[0], [node("n1")] if resource is NODES else [])
    change(mirror, NODES, node("n2"), verb=Verb.ADDED)
    assert mirror.held.view().snapshot.accelerators.added == ("example.com/card",)
