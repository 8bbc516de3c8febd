"""Gangs of pods that name none: those of the workload that owns them, of any other controller, or a pod of its own."""

from collections.abc import Sequence
from dataclasses import replace

from adapters.apply.pod_groups import as_joined
from adapters.kubernetes.foreign_rules import JOBSET_EXCLUSIVE
from adapters.kubernetes.gang_keys import split_owner_key
from adapters.kubernetes.objects import Document
from adapters.manifests.live_members import SOURCE, Joined, LivePods, oldest
from adapters.manifests.loose_pods import Bond, controller_kind, loose_gang
from adapters.manifests.members import Member
from adapters.manifests.reading import Reading
from adapters.manifests.workload_kinds import workload_of
from adapters.manifests.workload_pods import WorkloadPods, named_pods
from adapters.manifests.workloads import read_workload

_NEVER = "so the gang would never be complete"


def join_workload(reading: Reading, key: str, pods: LivePods, members: Sequence[Member]) -> Joined:
    """The gang of a workload with its pods; missing are those that it declares and that do not exist.

    Raises InvalidRequest for what cannot be honoured, also for a workload that makes some of its pods only once others
    run.
    """
    kind = workload_of(reading.doc)
    if kind is None:
        return Joined(None, {})
    there = [member.doc for member in members if member.name not in pods.done]
    done = [member.doc for member in members if member.name in pods.done]
    others = [Document({"apiVersion": "v1", "kind": "Pod", **body}, SOURCE) for body in pods.others]
    every = WorkloadPods([*there, *others], done, invent=False)
    named = named_pods(reading, kind, list(kind.podsets(reading.doc)), every)
    missing = {name: each.lacking for name, each in named.items() if each.lacking}
    if missing and any(doc.full_name not in pods.fixed for doc in there):
        _refuse_late_pods(reading)
    shapes = {member.name: member.shape for member in members}
    found = read_workload(reading, kind, WorkloadPods(there, done, shapes, invent=False)) if there else None
    if found is None:
        return Joined(None, missing)
    return Joined(replace(found.gang, name=key, created=oldest([reading.doc.body, *pods.bodies])), missing)


def join_owned(reading: Reading, key: str, pods: LivePods, members: Sequence[Member]) -> Joined:
    """The pods of a controller that nobody knows, as many as there are, or a pod that none controls, alone."""
    _, name = split_owner_key(key) or ("", key.partition("/")[2])
    kind = controller_kind(members[0].doc)
    gang = loose_gang(reading, Bond(f"{reading.doc.namespace}/{name}", kind), members).gang
    return as_joined(replace(gang, name=key), reading, pods, {}, is_open=kind != "Pod")


def _refuse_late_pods(reading: Reading) -> None:
    """Raise InvalidRequest for a workload that makes pods only once others are ready, or have their nodes."""
    doc = reading.doc
    if doc.kind == "StatefulSet" and doc.text("spec.podManagementPolicy", "") != "Parallel":
        problem = f"OrderedReady makes pods one after the other, {_NEVER}; Parallel makes them at once"
        raise doc.refuse("spec.podManagementPolicy", problem)
    if doc.kind == "JobSet":
        if doc.text("spec.startupPolicy.startupPolicyOrder", "") == "InOrder":
            problem = f"InOrder makes jobs only once those before them are ready, {_NEVER}"
            raise doc.refuse("spec.startupPolicy.startupPolicyOrder", problem)
        jobs = doc.parts("spec.replicatedJobs")
        places = ("template.metadata.annotations", "template.spec.template.metadata.annotations")
        marks = [doc.annotations, *(job.texts(place) for job in jobs for place in places)]
        if any(mark.get(JOBSET_EXCLUSIVE) for mark in marks):
            problem = f"pods are made only once the leader of their job has its domain, {_NEVER}"
            raise doc.refuse(f"metadata.annotations[{JOBSET_EXCLUSIVE}]", problem)
    for field in ("spec.replicatedJobs", "spec.tasks"):
        for part in doc.parts(field):
            if part.find("dependsOn"):
                raise part.refuse("dependsOn", f"pods are made only once others have come so far, {_NEVER}")
