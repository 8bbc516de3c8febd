"""Huddle's own kinds on the control plane."""

from functools import partial

from adapters.kubernetes.resources import GANGS, PLACEMENTS
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
        path = f"{CRDS}/{definition['metadata']['name']}"
        eventually(partial(_established, api, path), f"{path} is established")
    for resource in (GANGS, PLACEMENTS):
        eventually(partial(_served, api, resource.path()), f"{resource} are served")


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
