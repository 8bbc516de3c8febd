"""What a test made in the shared control plane and others would see: found by comparison, and removed."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

from support.controlplane.api import CONNECTIONS, Api, Json, Refused
from support.controlplane.definitions import CRDS, wait_usable
from support.controlplane.waiting import eventually

#: Lists of what is not kept apart by a namespace of one's own. Pods are among them, since they take up nodes.
SHARED = (
    "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations",
    "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
    "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings",
    "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
    CRDS,
    "/apis/scheduling.k8s.io/v1/priorityclasses",
    "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "/api/v1/pods",
    "/api/v1/nodes",
)

Uids = frozenset[str]


def present(api: Api) -> Uids:
    """The uids of all shared objects."""
    return frozenset(item["metadata"]["uid"] for path in SHARED for item in api.items(path))


def remove_new(api: Api, before: Uids) -> None:
    """Remove the shared objects that were not there before, and wait until they are gone."""
    for path in SHARED:
        with ThreadPoolExecutor(CONNECTIONS) as threads:
            list(threads.map(partial(_remove, api, path), _new(api, path, before)))
        eventually(partial(_is_clean, api, path, before), f"{path} is as it was before the test")


def _is_clean(api: Api, path: str, before: Uids) -> bool:
    return not _new(api, path, before)


def _new(api: Api, path: str, before: Uids) -> list[Json]:
    return [item for item in api.items(path) if item["metadata"]["uid"] not in before]


def _remove(api: Api, path: str, item: Json) -> None:
    """Remove one object now, whatever finalizers it carries; gone already is as good."""
    meta = item["metadata"]
    collection, kind = path.rsplit("/", 1)
    where = f"{collection}/namespaces/{meta['namespace']}/{kind}" if "namespace" in meta else path
    try:
        if meta.get("finalizers") and kind == "pods":
            api.patch(f"{where}/{meta['name']}", {"metadata": {"finalizers": None}})
        if path == CRDS and "deletionTimestamp" not in meta:
            wait_usable(api, item)  # an API server takes minutes to remove one whose storage it was still setting up
        api.delete(f"{where}/{meta['name']}")
    except Refused as refused:
        if refused.status != 404:
            raise
