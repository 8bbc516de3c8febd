"""Damaged manifests: every field of a sample in turn gone or replaced by something absurd."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from adapters.kubernetes.objects import Document
from adapters.manifests.gangs import read_gangs
from solver.domain.errors import InvalidRequest

SAMPLES = {
    "own": """
apiVersion: huddle.scheduler/v1alpha1
kind: Gang
metadata: {name: g, labels: {a: b}}
spec:
  priority: 1
  root:
    pack: {required: zone}
    roles: [{name: p, kind: prefill, replicas: 2, min: 1, template: {spec: {containers: [{name: c}]}}}]
    groups: [{name: d, replicas: 2, spread: [{level: rack, max: 1}], roles: [{name: e, replicas: 1}]}]
  flows: [{from: p, to: [e], bytes: 1, perRequest: 0.5}]
  reach: [{from: p, to: e, level: zone, ratio: 0.5}]
""",
    "dynamo": """
kind: DynamoGraphDeployment
metadata: {name: d, annotations: {nvidia.com/kai-scheduler-queue: q}}
spec:
  envs: [{name: A, value: b}]
  topologyConstraint: {topologyProfile: t, packDomain: zone}
  services:
    F: {componentType: frontend, replicas: 1}
    prefill:
      componentType: worker
      labels: {a: b}
      annotations: {kai.scheduler/topology-preferred-placement: rack}
      resources: {limits: {gpu: "1", custom: {x/y: "1"}}}
      extraPodSpec: {nodeSelector: {a: b}, mainContainer: {args: [--tp, "2"], env: [{name: A, value: $A}]}}
    decode: {multinode: {nodeCount: 2}, minAvailable: 1, topologyConstraint: {packDomain: rack}}
  experimental: {kvTransferPolicy: {labelKey: zone, enforcement: required}}
""",
    "components": """
kind: DynamoGraphDeployment
metadata: {name: d}
spec:
  components:
  - name: P
    type: prefill
    podTemplate: {metadata: {labels: {a: b}}, spec: {containers: [{name: main, command: [a], args: [b]}]}}
""",
    "kai": """
apiVersion: scheduling.run.ai/v2alpha2
kind: PodGroup
metadata: {name: g}
spec:
  minSubGroup: 1
  queue: q
  priorityClassName: train
  subGroups: [{name: a, parent: b, minMember: 1}, {name: b, topologyConstraint: {topology: t}}]
---
kind: Pod
metadata: {name: p, annotations: {pod-group-name: g}, labels: {kai.scheduler/subgroup-name: a}}
spec: {nodeName: n, containers: [{name: c, args: [a]}]}
status: {phase: Running}
""",
    "native": """
apiVersion: scheduling.k8s.io/v1beta1
kind: PodGroup
metadata: {name: g}
spec: {schedulingPolicy: {gang: {minCount: 1}}, schedulingConstraints: {topology: [{key: k}]}, priority: 1}
---
kind: Pod
metadata: {name: p}
spec: {schedulingGroup: {podGroupName: g}}
""",
    "lws": """
apiVersion: leaderworkerset.x-k8s.io/v1
kind: LeaderWorkerSet
metadata: {name: s}
spec: {replicas: 1, leaderWorkerTemplate: {size: 2, workerTemplate: {metadata: {labels: {a: b}}, spec: {}}}}
""",
    "loose": """
kind: Pod
metadata: {name: p, ownerReferences: [{controller: true, kind: ReplicaSet, name: r}]}
spec: {priority: 1, containers: []}
---
kind: ReplicaSet
metadata: {name: r, namespace: default}
spec: {replicas: 2}
""",
}
GONE = object()
ABSURD = [
    GONE,
    None,
    7,
    -1,
    2**31,
    1e30,
    float("nan"),
    float("inf"),
    "x",
    "",
    [],
    [7],
    {},
    {"x": 7},
    True,
    10**400,
    "a/\n",
]

Path = tuple[Any, ...]


def _paths(value: Any, path: Path = ()) -> Iterator[Path]:
    if path:
        yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in inside:
        yield from _paths(child, (*path, key))


def _damaged(bodies: list[Any], path: Path, value: Any) -> list[Document]:
    bodies = copy.deepcopy(bodies)
    place = bodies
    for key in path[:-1]:
        place = place[key]
    if value is GONE:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return [Document(body, "f.yaml") for body in bodies if isinstance(body, dict)]


@pytest.mark.parametrize("name", SAMPLES)
def test_damage_is_refused_in_one_line(name: str) -> None:
    """Whatever is damaged, the manifest is read or refused in one line that begins with the file."""
    bodies = list(yaml.safe_load_all(SAMPLES[name]))
    assert read_gangs([Document(body, "f.yaml") for body in bodies]).gangs
    for path in _paths(bodies):
        for value in ABSURD:
            line = _refusal(_damaged(bodies, path, value))
            assert line is None or (line.startswith(("f.yaml: ", "the input: ")) and line.isprintable()), (path, line)


def _refusal(documents: list[Document]) -> str | None:
    try:
        read_gangs(documents)
    except InvalidRequest as error:
        return str(error)
    return None
