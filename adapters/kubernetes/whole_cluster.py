"""Everything an offline plan wants to know of a cluster, as it was at one moment."""

from collections.abc import Mapping
from typing import Any

from adapters.kubernetes.api import Api
from adapters.kubernetes.api_errors import NotFound, Refused, Unreachable
from adapters.kubernetes.decoding import Body
from adapters.kubernetes.listing import Listing, list_kind
from adapters.kubernetes.resources import (
    BIND_REQUESTS,
    COMPUTE_DOMAINS,
    DEVICES,
    DYNAMO_DEPLOYMENTS,
    GANGS,
    NODES,
    POD_GROUPS,
    PODS,
    PRIORITY_CLASSES,
    QUEUES,
    STORAGE,
    TOPOLOGIES,
    WORKLOADS,
    Resource,
)
from solver.domain.errors import SourceUnavailable

#: Kinds that say what is free, who may use it, how it is wired and where volumes are. Pods come first: theirs is the
#: longest list.
KINDS = (
    PODS,
    NODES,
    *TOPOLOGIES,
    QUEUES,
    PRIORITY_CLASSES,
    *POD_GROUPS,
    GANGS,
    BIND_REQUESTS,
    COMPUTE_DOMAINS,
    DYNAMO_DEPLOYMENTS,
    *WORKLOADS,
    *STORAGE,
    *DEVICES,
)
_PAGE = 1000


async def read_cluster(api: Api) -> dict[str, Any]:
    """A `v1` List of every object of KINDS, kinds the server does not know left out; by kind, then by name.

    All are as they were when the pods were read, unless the server keeps no history or keeps it elsewhere. Raises
    SourceUnavailable.
    """
    found: dict[Resource, list[Body]] = {}
    moment = ""
    for resource in KINDS:
        try:
            listing = await _as_of(api, resource, moment)
        except NotFound:
            if resource in (PODS, NODES):
                raise
            continue
        moment = moment or listing.since
        found[resource] = listing.bodies
    kinds = sorted(found, key=lambda resource: resource is PODS)  # the long list comes last, for who reads the file
    return {"apiVersion": "v1", "kind": "List", "items": [body for kind in kinds for body in found[kind]]}


async def _as_of(api: Api, resource: Resource, moment: str) -> Listing:
    """The objects at this resource version, or as they are now if the server cannot say."""
    exactly: Mapping[str, str] = {"resourceVersion": moment, "resourceVersionMatch": "Exact"}
    if moment:
        try:
            return await list_kind(api, resource, _PAGE, exactly)
        except (NotFound, Refused, Unreachable):
            raise
        except SourceUnavailable:
            pass  # another store has other versions
    return await list_kind(api, resource, _PAGE)
