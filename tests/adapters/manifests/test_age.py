"""Since when a gang waits, as its manifests tell."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest

from adapters.manifests.gangs import GangInput
from solver.domain.errors import InvalidRequest

Read = Callable[..., GangInput]

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
OWN = """
apiVersion: huddle.scheduler/v1alpha1
kind: Gang
metadata: {name: g, creationTimestamp: %s}
spec: {root: {roles: [{name: w, replicas: 1}]}}
"""
DEPLOYMENT = """
apiVersion: nvidia.com/v1alpha1
kind: DynamoGraphDeployment
metadata: {name: g, creationTimestamp: '2026-01-01T00:00:00Z'}
spec: {services: {Worker: {replicas: 1, componentType: worker}}}
"""
SET = """
apiVersion: leaderworkerset.x-k8s.io/v1
kind: LeaderWorkerSet
metadata: {name: g, creationTimestamp: '2026-01-01T00:00:00Z'}
spec: {replicas: 1, leaderWorkerTemplate: {size: 1, workerTemplate: {spec: {containers: []}}}}
"""
GROUP = """
apiVersion: scheduling.run.ai/v2alpha2
kind: PodGroup
metadata: {name: g, creationTimestamp: '2026-01-01T00:00:00Z'}
spec: {minMember: 1}
"""
POD = """
---
apiVersion: v1
kind: Pod
metadata: {name: p%d, creationTimestamp: %s, annotations: {pod-group-name: g}}
spec: {containers: []}
"""


def _created(read: Read, text: str) -> datetime | None:
    (gang,) = read(text).gangs
    return gang.created


@pytest.mark.parametrize("text", [OWN % "'2026-01-01T00:00:00Z'", DEPLOYMENT, SET], ids=["own", "dynamo", "lws"])
def test_an_object_tells_when_it_was_created(read: Read, text: str) -> None:
    """Every kind of object that stands for a gang carries its creationTimestamp into it."""
    assert _created(read, text) == NEW_YEAR


def test_a_group_counts_before_its_pods(read: Read) -> None:
    """Pods may be made anew; the gang waits since its PodGroup is there."""
    pods = POD % (0, "'2025-06-01T00:00:00Z'")
    assert _created(read, GROUP + pods) == NEW_YEAR


def test_pods_without_a_group_wait_since_the_oldest(read: Read) -> None:
    """Of pods that only share a name the oldest tells; one without a moment is passed over."""
    times = ["'2026-03-01T00:00:00Z'", "'2026-01-01T01:00:00+01:00'", "null"]
    assert _created(read, "".join(POD % (at, moment) for at, moment in enumerate(times))) == NEW_YEAR


def test_a_moment_nobody_tells(read: Read) -> None:
    """Without a timestamp, or with an empty one as in generated manifests, the age is unknown."""
    assert _created(read, OWN % "null") is None
    assert _created(read, OWN.replace(", creationTimestamp: %s", "")) is None


def test_offsets_and_fractions(read: Read) -> None:
    """RFC 3339 as other tools write it."""
    expected = datetime(2026, 1, 1, 2, 0, 0, 250_000, tzinfo=timezone(timedelta(hours=2)))
    assert _created(read, OWN % "'2026-01-01T02:00:00.25+02:00'") == expected


@pytest.mark.parametrize("moment", ["'yesterday'", "'2026-01-01T00:00:00'", "'2026-13-01T00:00:00Z'", "17"])
def test_what_is_no_moment_is_refused(read: Read, moment: str) -> None:
    """One sentence with file, object and field; a time without a zone may mean two moments."""
    with pytest.raises(InvalidRequest, match=r"gang\.yaml: Gang default/g: metadata\.creationTimestamp: "):
        read(OWN % moment)
