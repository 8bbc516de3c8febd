"""Pods that name a Gang join it in a plan from files, as they do in the controller."""

from collections.abc import Callable

import pytest

from adapters.manifests.gangs import GangInput
from solver.domain.errors import InvalidRequest
from solver.domain.gang import BoundMember, Gang, Role

Read = Callable[..., GangInput]

GANG = """
apiVersion: huddle.scheduler/v1alpha1
kind: Gang
metadata: {name: llama, namespace: prod}
spec:
  root:
    roles:
    - {name: prefill, kind: prefill, replicas: 1}
    - {name: decode, kind: decode, replicas: 2}
  flows: [{from: prefill, to: decode, bytes: 1000}]
---
"""
ENGINES = """
apiVersion: huddle.scheduler/v1alpha1
kind: Gang
metadata: {name: llama, namespace: prod}
spec:
  root:
    groups:
    - name: engine
      replicas: 2
      pack: {required: nvl}
      roles:
      - name: rank
        replicas: 2
        template: {spec: {containers: [{name: main, resources: {limits: {nvidia.com/gpu: 4}}}]}}
---
"""


def pod(name: str, role: str, *, gpus: int = 4, node: str = "", gang: str = "llama", phase: str = "Pending") -> str:
    """A pod that names a Gang and a role of it."""
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: prod, labels: {{huddle.scheduler/gang: {gang}, huddle.scheduler/role: {role}}}}}
spec: {{nodeName: "{node}", containers: [{{name: main, resources: {{limits: {{nvidia.com/gpu: {gpus}}}}}}}]}}
status: {{phase: {phase}}}
---
"""


def role(gang: Gang, name: str) -> Role:
    """A role by name."""
    return next(role for role in gang.roles if role.name == name)


def test_pods_of_the_file_are_members(read: Read) -> None:
    """One gang, not one a pod, that asks for what its pods ask for."""
    found = read(GANG + pod("p-0", "prefill", gpus=8) + pod("d-0", "decode") + pod("d-1", "decode"))
    (gang,) = found.gangs
    assert role(gang, "prefill").pods == ("prod/p-0",)
    assert role(gang, "decode").pods == ("prod/d-0", "prod/d-1")
    assert [role.requests.gpus for role in gang.roles] == [8, 4]
    assert (gang.running, len(gang.flows)) == ((), 1)


def test_pods_that_do_not_exist_yet_are_made_up(read: Read) -> None:
    """They ask for what the pods of their role ask for, under names that are free."""
    (gang,) = read(GANG + pod("p-0", "prefill") + pod("decode-0", "decode")).gangs
    assert role(gang, "decode").pods == ("prod/decode-0", "prod/decode-1")
    assert role(gang, "decode").requests.gpus == 4


def test_bound_pods_of_the_cluster_run(read: Read) -> None:
    """A gang of which some pods run asks for the others only."""
    running = pod("p-0", "prefill", node="n1") + pod("d-0", "decode", node="n2")
    (gang,) = read(GANG, cluster=running).gangs
    assert gang.running == (BoundMember("prod/d-0", "n2"), BoundMember("prod/p-0", "n1"))
    assert role(gang, "decode").pods == ("prod/d-0", "prod/decode-0")


def test_replicas_stay_what_they_are(read: Read) -> None:
    """Of a group that replicates, a replica of which a pod runs is a group of its own, filled up from the template."""
    (gang,) = read(ENGINES, cluster=pod("rank-2", "rank", node="n7")).gangs
    (engine,) = gang.root.groups
    assert [group.name for group in engine.groups] == ["engine#0", "engine#1"]
    assert [role.pods for role in gang.roles] == [("prod/rank-0", "prod/rank-1"), ("prod/rank-2", "prod/rank-3")]
    assert {role.requests.gpus for role in gang.roles} == {4}
    assert gang.running == (BoundMember("prod/rank-2", "n7"),)


def test_nothing_runs_nothing_is_split(read: Read) -> None:
    """Pods that only wait leave a group that replicates as it is."""
    (gang,) = read(ENGINES + pod("rank-1", "rank")).gangs
    (engine,) = gang.root.groups
    assert (engine.replicas, engine.roles[0].replicas) == (2, 2)
    assert set(engine.roles[0].pods) == {f"prod/rank-{index}" for index in range(4)}


def test_succeeded_pods_have_done_their_part(read: Read) -> None:
    """What their role needs is so much less, and nothing is made up in their place."""
    done = pod("p-0", "prefill", phase="Succeeded")
    (gang,) = read(GANG + done + pod("d-0", "decode") + pod("d-1", "decode")).gangs
    assert role(gang, "prefill").pods == ()
    assert role(gang, "prefill").min == 0


def test_a_gang_of_the_cluster_holds_pods_of_the_file(read: Read) -> None:
    """It is context, as a PodGroup there is: planned once a pod of the files names it."""
    (gang,) = read(pod("d-0", "decode") + pod("d-1", "decode"), cluster=GANG + pod("p-0", "prefill", node="n1")).gangs
    assert (gang.name, gang.running) == ("prod/llama", (BoundMember("prod/p-0", "n1"),))


def test_pods_without_their_gang_are_refused(read: Read) -> None:
    """They never become gangs of one pod."""
    with pytest.raises(InvalidRequest, match=r"prod/d-0: .*Gang prod/other is not in the input"):
        read(pod("d-0", "decode", gang="other"))


def test_an_unknown_role_is_refused(read: Read) -> None:
    """The pod and the roles there are stand in the message."""
    with pytest.raises(InvalidRequest, match=r"prod/x-0: .*'worker' is no role of the Gang.*prefill, decode"):
        read(GANG + pod("x-0", "worker"))
