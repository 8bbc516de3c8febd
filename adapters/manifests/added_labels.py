"""Labels that controllers give the pods they make: a selector may name them though no template does.

Readers of manifests add them to those of the template with `Reading.shape(…, added=…)`, which keeps what some selector
of the call names. What nobody can know before the pods exist, such as the hash of a template, is not among them.
"""

import hashlib

_SET = "leaderworkerset.sigs.k8s.io"
_JOB_SET = "jobset.sigs.k8s.io"

#: Of the pods of a LeaderWorkerSet: which set they belong to, which replica, and which rank they have in it.
SET_NAME, SET_INDEX, SET_KEY, WORKER_INDEX = (
    f"{_SET}/{name}" for name in ("name", "group-index", "group-key", "worker-index")
)
LEADER_WORKER_SET_KEYS = (SET_NAME, SET_INDEX, SET_KEY, WORKER_INDEX)


def leader_worker_set_labels(namespace: str, name: str, index: int, rank: int) -> dict[str, str]:
    """Of the pod with this rank, 0 for the leader, in replica `index` of a LeaderWorkerSet."""
    return {
        SET_NAME: name,
        SET_INDEX: str(index),
        SET_KEY: _hash_of(f"{namespace}/{name}-{index}"),
        WORKER_INDEX: str(rank),
    }


def job_labels(name: str, completion: int | None = None) -> dict[str, str]:
    """Of a pod of a Job. completion: its index, where completions are indexed."""
    labels = {"batch.kubernetes.io/job-name": name, "job-name": name}
    return labels if completion is None else labels | {"batch.kubernetes.io/job-completion-index": str(completion)}


def job_set_labels(
    namespace: str, name: str, replicated_job: str, replicas: int, index: int, before: int = 0
) -> dict[str, str]:
    """Of the pods of job `index` among the `replicas` of one replicated job of a JobSet, beside `job_labels`.

    before: jobs of the replicated jobs that are declared before it.
    """
    job = f"{name}-{replicated_job}-{index}"
    return {
        f"{_JOB_SET}/jobset-name": name,
        f"{_JOB_SET}/replicatedjob-name": replicated_job,
        f"{_JOB_SET}/replicatedjob-replicas": str(replicas),
        f"{_JOB_SET}/job-index": str(index),
        f"{_JOB_SET}/job-global-index": str(before + index),
        f"{_JOB_SET}/job-key": _hash_of(f"{namespace}/{job}"),
        f"{_JOB_SET}/restart-attempt": "0",
    }


def stateful_set_labels(name: str, ordinal: int) -> dict[str, str]:
    """Of the pod with this ordinal of a StatefulSet."""
    return {"statefulset.kubernetes.io/pod-name": f"{name}-{ordinal}", "apps.kubernetes.io/pod-index": str(ordinal)}


def _hash_of(text: str) -> str:
    """How LeaderWorkerSet and JobSet make a label of a name that may be too long for one."""
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
