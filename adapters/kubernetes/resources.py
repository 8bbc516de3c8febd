"""Kinds of the API server that matter here, and where they are found."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class Resource:
    """A kind, equal only to itself.

    versions: of its API group, the best first; an empty group is the core one. namespaced: it lives in one.
    """

    group: str
    versions: tuple[str, ...]
    plural: str
    kind: str
    namespaced: bool = True

    def __str__(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def base(self, version: str) -> str:
        """The path of the API group in this version."""
        return f"/apis/{self.group}/{version}" if self.group else f"/api/{version}"

    def path(self, namespace: str = "", name: str = "", subresource: str = "", version: str = "") -> str:
        """The path of the collection, of one object, or of a subresource; of the best version unless one is given."""
        words = [self.base(version or self.versions[0])]
        words += ["namespaces", namespace] if namespace and self.namespaced else []
        words += [word for word in (self.plural, name, subresource) if word]
        return "/".join(words)


NODES = Resource("", ("v1",), "nodes", "Node", namespaced=False)
PODS = Resource("", ("v1",), "pods", "Pod")
GANGS = Resource("huddle.scheduler", ("v1alpha1",), "gangs", "Gang")
PLACEMENTS = Resource("huddle.scheduler", ("v1alpha1",), "placements", "Placement")
NATIVE_POD_GROUPS = Resource("scheduling.k8s.io", ("v1", "v1beta1", "v1alpha3", "v1alpha2"), "podgroups", "PodGroup")
KAI_POD_GROUPS = Resource("scheduling.run.ai", ("v2alpha2",), "podgroups", "PodGroup")
COSCHEDULING_POD_GROUPS = Resource("scheduling.x-k8s.io", ("v1alpha1",), "podgroups", "PodGroup")
KOORDINATOR_POD_GROUPS = Resource("scheduling.sigs.k8s.io", ("v1alpha1",), "podgroups", "PodGroup")
VOLCANO_POD_GROUPS = Resource("scheduling.volcano.sh", ("v1beta1",), "podgroups", "PodGroup")
BIND_REQUESTS = Resource("scheduling.run.ai", ("v1alpha2",), "bindrequests", "BindRequest")
QUEUES = Resource("scheduling.run.ai", ("v2",), "queues", "Queue", namespaced=False)
LEADER_WORKER_SETS = Resource("leaderworkerset.x-k8s.io", ("v1",), "leaderworkersets", "LeaderWorkerSet")
KAI_TOPOLOGIES = Resource("kai.scheduler", ("v1alpha1",), "topologies", "Topology", namespaced=False)
KUEUE_TOPOLOGIES = Resource("kueue.x-k8s.io", ("v1beta2", "v1beta1", "v1alpha1"), "topologies", "Topology", False)
GROVE_BINDINGS = Resource(
    "grove.io", ("v1alpha1",), "clustertopologybindings", "ClusterTopologyBinding", namespaced=False
)
GROVE_TOPOLOGIES = Resource("grove.io", ("v1alpha1",), "clustertopologies", "ClusterTopology", namespaced=False)
PRIORITY_CLASSES = Resource("scheduling.k8s.io", ("v1",), "priorityclasses", "PriorityClass", namespaced=False)
DYNAMO_DEPLOYMENTS = Resource("nvidia.com", ("v1beta1", "v1alpha1"), "dynamographdeployments", "DynamoGraphDeployment")
COMPUTE_DOMAINS = Resource("resource.nvidia.com", ("v1beta1",), "computedomains", "ComputeDomain")
CLAIMS = Resource("", ("v1",), "persistentvolumeclaims", "PersistentVolumeClaim")
VOLUMES = Resource("", ("v1",), "persistentvolumes", "PersistentVolume", namespaced=False)
STORAGE_CLASSES = Resource("storage.k8s.io", ("v1",), "storageclasses", "StorageClass", namespaced=False)
DEPLOYMENTS = Resource("apps", ("v1",), "deployments", "Deployment")
REPLICA_SETS = Resource("apps", ("v1",), "replicasets", "ReplicaSet")
STATEFUL_SETS = Resource("apps", ("v1",), "statefulsets", "StatefulSet")
JOBS = Resource("batch", ("v1",), "jobs", "Job")
JOB_SETS = Resource("jobset.x-k8s.io", ("v1alpha2",), "jobsets", "JobSet")
RAY_CLUSTERS = Resource("ray.io", ("v1", "v1alpha1"), "rayclusters", "RayCluster")
VOLCANO_JOBS = Resource("batch.volcano.sh", ("v1alpha1",), "jobs", "Job")

#: Objects whose pods are a gang where they name none.
WORKLOADS = (DEPLOYMENTS, REPLICA_SETS, STATEFUL_SETS, JOBS, JOB_SETS, RAY_CLUSTERS, VOLCANO_JOBS)
STORAGE = (CLAIMS, VOLUMES, STORAGE_CLASSES)
_CLAIM_VERSIONS = ("v1", "v1beta2", "v1beta1")
DEVICE_CLASSES = Resource("resource.k8s.io", _CLAIM_VERSIONS, "deviceclasses", "DeviceClass", namespaced=False)
RESOURCE_SLICES = Resource("resource.k8s.io", _CLAIM_VERSIONS, "resourceslices", "ResourceSlice", namespaced=False)
RESOURCE_CLAIMS = Resource("resource.k8s.io", _CLAIM_VERSIONS, "resourceclaims", "ResourceClaim")
CLAIM_TEMPLATES = Resource("resource.k8s.io", _CLAIM_VERSIONS, "resourceclaimtemplates", "ResourceClaimTemplate")

#: Devices and claims of them: read from files, not followed. The controller refuses pods with claims by name.
DEVICES = (DEVICE_CLASSES, RESOURCE_SLICES, RESOURCE_CLAIMS, CLAIM_TEMPLATES)
TOPOLOGIES = (KAI_TOPOLOGIES, KUEUE_TOPOLOGIES, GROVE_BINDINGS, GROVE_TOPOLOGIES)
POD_GROUPS = (
    NATIVE_POD_GROUPS,
    KAI_POD_GROUPS,
    COSCHEDULING_POD_GROUPS,
    KOORDINATOR_POD_GROUPS,
    VOLCANO_POD_GROUPS,
)

#: Everything the mirror shows. Nodes come before pods, so that few pods wait for their node.
MIRRORED = (
    NODES,
    PODS,
    GANGS,
    PLACEMENTS,
    *POD_GROUPS,
    LEADER_WORKER_SETS,
    DYNAMO_DEPLOYMENTS,
    *WORKLOADS,
    *TOPOLOGIES,
    QUEUES,
    BIND_REQUESTS,
    PRIORITY_CLASSES,
    COMPUTE_DOMAINS,
    *STORAGE,
)
