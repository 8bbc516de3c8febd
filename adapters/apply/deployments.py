"""Gangs of DynamoGraphDeployments: what the deployment declares, made of the pods that its operator has made."""

from collections.abc import Sequence
from dataclasses import replace

from adapters.kubernetes.objects import Document
from adapters.manifests.dynamo import missing_members, read_deployment
from adapters.manifests.live_members import Joined
from adapters.manifests.reading import Reading


def join_deployment(reading: Reading, pods: Sequence[Document], others: Sequence[Document]) -> Joined:
    """The gang of a deployment with its pods; missing are those that it declares and that do not exist.

    pods: members, on their nodes where they stay there. others: pods of the deployment that exist and are no members
    now. Raises InvalidRequest.
    """
    seen = replace(reading, world=replace(reading.world, files=(reading.doc, *pods)))
    missing = missing_members(seen, others)
    if not pods:
        return Joined(None, missing)
    return Joined(read_deployment(seen, invent=False).gang, missing)
