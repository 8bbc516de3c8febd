"""Labels that no selector names never change a gang or its plan; those that one names say all that there is to say."""

import copy
import random
from typing import Any

from hypothesis import given, settings

from adapters.files.cluster import load_cluster
from adapters.kubernetes.objects import Document
from adapters.kubernetes.pods import pod_shape
from adapters.manifests.gangs import GangOptions, read_gangs
from solver.domain.plan import Plan
from solver.planner import Options, plan
from support.strategies import seeds

Body = dict[str, Any]
Objects = tuple[list[Body], list[Body]]

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
HOST, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
KEYS, IDLE = ("app", "tier", "rank"), ("pod-template-hash", "batch.kubernetes.io/job-name", "z")


def random_objects(rng: random.Random) -> Objects:
    """Pods of one PodGroup, and a cluster of a few nodes with pods that run."""
    group = {"apiVersion": "scheduling.run.ai/v2alpha2", "kind": "PodGroup"}
    group |= {"metadata": {"name": "g", "namespace": "a"}, "spec": {"minMember": rng.randint(1, 3)}}
    members = [_pod(rng, f"p{at}", "a", {}) for at in range(rng.randint(1, 4))]
    for member in members:
        member["metadata"]["annotations"] = {"pod-group-name": "g"}
    nodes = [_node(f"n{at}", rng.choice("xy")) for at in range(rng.randint(1, 4))]
    names = [node["metadata"]["name"] for node in nodes]
    running = [
        _pod(rng, f"r{at}", rng.choice("ab"), {"nodeName": rng.choice(names)}) for at in range(rng.randint(0, 3))
    ]
    return [group, *members], [*nodes, *running]


def _node(name: str, zone: str) -> Body:
    amounts = {"cpu": "4", "memory": "1Gi", "pods": "4"}
    status = {"allocatable": amounts, "conditions": [{"type": "Ready", "status": "True"}]}
    return {
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {HOST: name, ZONE: zone}},
        "spec": {}, "status": status,
    }  # fmt: skip


def _pod(rng: random.Random, name: str, namespace: str, spec: Body) -> Body:
    labels = {key: rng.choice("01") for key in KEYS if rng.random() < 0.6}
    terms = [_term(rng) for _ in range(rng.choice((0, 0, 1, 2)))]
    affinity = {"affinity": {"podAntiAffinity": {REQUIRED: terms}}} if terms else {}
    containers = [{"name": "main", "resources": {"requests": {"cpu": rng.choice(("1", "1", "2"))}}}]
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {**spec, **affinity, "containers": containers},
    }  # fmt: skip


def _term(rng: random.Random) -> Body:
    key, operator = rng.choice(KEYS), rng.choice(("In", "NotIn", "Exists", "DoesNotExist"))
    values = {"values": [rng.choice("01")]} if operator.endswith("In") else {}
    selector = {"matchExpressions": [{"key": key, "operator": operator, **values}]}
    where = rng.choice(({}, {"namespaces": ["b"]}, {"namespaces": ["a", "b"]}, {"namespaceSelector": {}}))
    return {"topologyKey": rng.choice((HOST, ZONE)), "labelSelector": selector, **where}


def selected(objects: Objects) -> set[str]:
    """Keys that some selector names."""
    pods = [body for body in (*objects[0], *objects[1]) if body["kind"] == "Pod"]
    rules = [pod["spec"]["affinity"]["podAntiAffinity"] for pod in pods if "affinity" in pod["spec"]]
    terms = [term for rule in rules for term in rule[REQUIRED]]
    return {term["labelSelector"]["matchExpressions"][0]["key"] for term in terms}


def labelled(objects: Objects, rng: random.Random) -> Objects:
    """The same objects with more labels on pods, and without some, of keys that nobody selects by."""
    idle = [key for key in (*KEYS, *IDLE) if key not in selected(objects)]
    other = copy.deepcopy(objects)
    for body in (*other[0], *other[1]):
        if body["kind"] == "Pod":
            for key in idle:
                body["metadata"]["labels"].pop(key, None)
                if rng.random() < 0.7:
                    body["metadata"]["labels"][key] = rng.choice("0123456789")
    return other


def planned(objects: Objects) -> tuple[Any, Plan]:
    """The gangs as they are read and planned."""
    files, cluster = ([Document(body, "test") for body in bodies] for bodies in objects)
    gangs = read_gangs(files, GangOptions(ignore_unsupported=True), cluster).gangs
    return gangs, plan(load_cluster([*cluster, *files]).snapshot, gangs, Options(time_limit_s=60))


@settings(max_examples=150, deadline=None)
@given(seeds())
def test_labels_nobody_selects_change_nothing(seed: int) -> None:
    """The gangs are equal, and so are status, objective and every assignment."""
    rng = random.Random(seed)
    objects = random_objects(rng)
    gangs, found = planned(objects)
    others, again = planned(labelled(objects, rng))
    assert others == gangs
    assert [(each.status, each.objective, each.assignments) for each in again.gangs] == [
        (each.status, each.objective, each.assignments) for each in found.gangs
    ]


@settings(max_examples=300, deadline=None)
@given(seeds())
def test_what_is_kept_answers_every_selector(seed: int) -> None:
    """Each selector of the call says of the labels that are kept what it says of all labels of the pod."""
    objects = random_objects(random.Random(seed))
    files, cluster = ([Document(body, "test") for body in bodies] for bodies in objects)
    roles = {
        pod: role
        for gang in read_gangs(files, GangOptions(ignore_unsupported=True), cluster).gangs
        for role in gang.roles
        for pod in role.pods
    }
    shapes = {doc.full_name: pod_shape(doc, doc.body, "") for doc in (*files, *cluster) if doc.kind == "Pod"}
    terms = [term for shape in shapes.values() for term in shape.constraints.anti_affinity]
    for pod, role in roles.items():
        full, kept = dict(shapes[pod].constraints.labels), dict(role.constraints.labels)
        assert all(term.selector.matches("a", full) == term.selector.matches("a", kept) for term in terms)
