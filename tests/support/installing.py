"""What deploy/ installs, put into a control plane, and calls that only ask whether they would be allowed."""

from support.controlplane.api import Api, Json, Refused

SYSTEM, ACCOUNT = "huddle-system", "huddle-controller"
PLURALS = {
    "CustomResourceDefinition": "customresourcedefinitions",
    "Namespace": "namespaces",
    "ServiceAccount": "serviceaccounts",
    "ClusterRole": "clusterroles",
    "ClusterRoleBinding": "clusterrolebindings",
    "Role": "roles",
    "RoleBinding": "rolebindings",
    "Deployment": "deployments",
    "Service": "services",
    "PodDisruptionBudget": "poddisruptionbudgets",
    "NetworkPolicy": "networkpolicies",
    "ValidatingAdmissionPolicy": "validatingadmissionpolicies",
    "ValidatingAdmissionPolicyBinding": "validatingadmissionpolicybindings",
}
DRY = {"dryRun": "All"}


def apply(api: Api, body: Json, **query: str) -> Json:
    """What `kubectl apply --server-side` does."""
    version, metadata = body["apiVersion"], body["metadata"]
    words = ["apis" if "/" in version else "api", version]
    words += ["namespaces", metadata["namespace"]] if "namespace" in metadata else []
    path = "/".join(["", *words, PLURALS[body["kind"]], metadata["name"]])
    return api.patch(path, body, "apply", fieldManager="tests", force="true", fieldValidation="Strict", **query)


def lease(name: str = ACCOUNT, namespace: str = SYSTEM) -> str:
    """The path of a Lease."""
    return f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name}"


def status(api: Api, method: str, path: str, body: Json | None = None) -> int:
    """The HTTP status of a call that changes nothing."""
    query = {} if method == "GET" else DRY
    kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
    try:
        api.call(method, path, body, kind=kind, query=query)
    except Refused as refused:
        return refused.status
    return 200
