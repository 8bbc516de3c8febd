"""Rules of other systems that pods and their owners carry as annotations or labels, and what becomes of each.

Every key of a known prefix is *honoured* by the readers that say so, *harmless* (says nothing about where pods may
run, or is said elsewhere too), *soft* (a wish that is not considered: a notice) or *refused* by name.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from adapters.kubernetes.objects import Fields

KUEUE = "kueue.x-k8s.io/"
KUEUE_REQUIRED = f"{KUEUE}podset-required-topology"
KUEUE_PREFERRED = f"{KUEUE}podset-preferred-topology"
KUEUE_SLICE_LEVEL = f"{KUEUE}podset-slice-required-topology"
KUEUE_SLICE_SIZE = f"{KUEUE}podset-slice-size"
KUEUE_GROUP = f"{KUEUE}podset-group-name"
LWS_EXCLUSIVE = "leaderworkerset.sigs.k8s.io/exclusive-topology"
LWS_SUBGROUP_EXCLUSIVE = "leaderworkerset.sigs.k8s.io/subgroup-exclusive-topology"
LWS_GROUP_KEY = "leaderworkerset.sigs.k8s.io/group-key"
LWS_SUBGROUP_KEY = "leaderworkerset.sigs.k8s.io/subgroup-key"
JOBSET_EXCLUSIVE = "alpha.jobset.sigs.k8s.io/exclusive-topology"
JOBSET_BY_SELECTOR = "alpha.jobset.sigs.k8s.io/node-selector"
JOBSET_JOB_KEY = "jobset.sigs.k8s.io/job-key"
VOLCANO_MODE = "volcano.sh/network-topology-mode"
VOLCANO_TIER = "volcano.sh/network-topology-highest-tier"

#: Annotations of Kueue that readers of pods and templates honour.
PODSET_RULES = frozenset({KUEUE_REQUIRED, KUEUE_PREFERRED, KUEUE_SLICE_LEVEL, KUEUE_SLICE_SIZE, KUEUE_GROUP})
#: Pods that share a label keep a domain for themselves: annotation → the label.
EXCLUSIVE_LABELS = {
    LWS_EXCLUSIVE: LWS_GROUP_KEY,
    LWS_SUBGROUP_EXCLUSIVE: LWS_SUBGROUP_KEY,
    JOBSET_EXCLUSIVE: JOBSET_JOB_KEY,
}
#: What a reader of existing pods honours.
POD_RULES = PODSET_RULES | frozenset(EXCLUSIVE_LABELS)


class Treatment(Enum):
    """What becomes of a key. HONOURED: by readers that say so, refused by the others."""

    HONOURED = "honoured"
    HARMLESS = "harmless"
    SOFT = "soft"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class _Rule:
    treatment: Treatment
    problem: str = ""


_EXCLUSIVE_HERE = "exclusive domains are not supported here"
_KUEUE_HERE = "topology rules of Kueue are not supported here"
_HARMLESS = _Rule(Treatment.HARMLESS)


def _refused(problem: str) -> _Rule:
    return _Rule(Treatment.REFUSED, problem)


#: Annotations by full key.
_ANNOTATIONS: Mapping[str, _Rule] = {
    **dict.fromkeys(PODSET_RULES, _Rule(Treatment.HONOURED, _KUEUE_HERE)),
    f"{KUEUE}podset-unconstrained-topology": _HARMLESS,
    **dict.fromkeys(EXCLUSIVE_LABELS, _Rule(Treatment.HONOURED, _EXCLUSIVE_HERE)),
    JOBSET_BY_SELECTOR: _Rule(Treatment.HONOURED, _EXCLUSIVE_HERE),
    VOLCANO_MODE: _Rule(Treatment.HONOURED, "network topology of Volcano is not supported here"),
    VOLCANO_TIER: _Rule(Treatment.HONOURED, "network topology of Volcano is not supported here"),
    "volcano.sh/numa-topology-policy": _Rule(Treatment.SOFT, "NUMA topology is not considered"),
    **dict.fromkeys(
        (
            f"gang.scheduling.koordinator.sh/{word}"
            for word in ("name", "min-available", "total-number", "mode", "waiting-time", "match-policy", "timeout")
        ),
        _HARMLESS,
    ),
    "gang.scheduling.koordinator.sh/groups": _Rule(
        Treatment.HONOURED, "a gang made of several groups is not supported"
    ),
    "gang.scheduling.koordinator.sh/network-topology-index": _Rule(Treatment.SOFT, "the order of ranks is ignored"),
    "gang.scheduling.koordinator.sh/network-topology-spec": _refused("network topology of Koordinator is unsupported"),
    "scheduling.koordinator.sh/numa-topology-spec": _refused("NUMA topology of Koordinator is not supported"),
    "kai.scheduler/segment-topology-required-placement": _refused("segments of a group are not supported"),
    "kai.scheduler/segment-topology-preferred-placement": _Rule(Treatment.SOFT, "segments of a group are ignored"),
    "yunikorn.apache.org/task-group-name": _refused("gangs of YuniKorn are not supported"),
    "yunikorn.apache.org/task-groups": _refused("gangs of YuniKorn are not supported"),
    "godel.bytedance.com/pod-group-name": _refused("gangs of Gödel are not supported"),
    "hivedscheduler.microsoft.com/pod-scheduling-spec": _refused("gangs of HiveD are not supported"),
}
#: Annotations by prefix, where the full key is not known.
_PREFIXES: Mapping[str, _Rule] = {
    f"{KUEUE}podset-": _refused("is a rule of Kueue that is not supported"),
    "gang.scheduling.koordinator.sh/": _refused("is a rule of Koordinator that is not supported"),
    "topology.gke.io/": _refused("placement policies of GKE are not supported"),
    "rolebasedgroup.workloads.x-k8s.io/exclusive-topology": _refused(_EXCLUSIVE_HERE),
    "volcano.sh/network-topology-": _refused("is a rule of Volcano that is not supported"),
    "volcano.sh/task-topology-": _refused("task topology of Volcano is not supported"),
}


def treatment(key: str) -> Treatment:
    """What becomes of an annotation; HARMLESS for keys that no known scheduler reads."""
    return _rule(key).treatment


def foreign_rules(fields: Fields, at: str, honoured: Collection[str]) -> Iterator[tuple[str, str]]:
    """(field, problem) of every annotation in the mapping `at` of `fields` that nobody honours.

    honoured: keys that the reader takes care of.
    """
    for key, value in fields.texts(at).items():
        rule = _rule(key)
        if value and key not in honoured and rule.treatment in (Treatment.HONOURED, Treatment.REFUSED):
            yield f"{at}[{key}]", rule.problem


def foreign_wishes(fields: Fields, at: str) -> Iterator[tuple[str, str]]:
    """(field, message) of every annotation in the mapping `at` that is a wish nobody considers."""
    for key, value in fields.texts(at).items():
        rule = _rule(key)
        if value and rule.treatment is Treatment.SOFT:
            yield f"{at}[{key}]", rule.problem


@lru_cache(maxsize=10_000)
def _rule(key: str) -> _Rule:
    known = _ANNOTATIONS.get(key)
    if known is not None:
        return known
    return next((rule for prefix, rule in _PREFIXES.items() if key.startswith(prefix)), _HARMLESS)
