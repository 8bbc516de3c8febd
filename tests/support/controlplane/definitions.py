"""Kinds on the control plane that have to be installed: Huddle's own, and others."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from adapters.manifests.definitions import definitions
from support.controlplane.api import Api, Refused
from support.controlplane.waiting import eventually

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def install_definitions(api: Api) -> None:
    """Install Gang and Placement, and wait until they are served."""
    for definition in definitions():
        api.create(CRDS, definition, fieldValidation="Strict")
    wait_served(api)


def wait_served(api: Api) -> None:
    """Wait until both kinds, once installed, can be used."""
    for definition in definitions():
        wait_usable(api, definition)


def wait_usable(api: Api, definition: Mapping[str, Any]) -> None:
    """Wait until the kind of a definition, once installed, can be used."""
    path, spec = f"{CRDS}/{definition['metadata']['name']}", definition["spec"]
    eventually(partial(_established, api, path), f"{path} is established")
    for version in (version for version in spec["versions"] if version["served"]):
        kind = f"/apis/{spec['group']}/{version['name']}/{spec['names']['plural']}"
        eventually(partial(_served, api, kind), f"{kind} is served")


def _established(api: Api, path: str) -> bool:
    conditions = api.get(path).get("status", {}).get("conditions") or []
    return any(one["type"] == "Established" and one["status"] == "True" for one in conditions)


def _served(api: Api, path: str) -> bool:
    try:
        api.get(path)
    except Refused as refused:
        if refused.status in (404, 429):  # not known yet, or its storage is not ready
            return False
        raise
    return True
