"""Every field of both published shapes of a DynamoGraphDeployment is honoured, ignored for a reason or refused."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import yaml

from adapters.manifests.dynamo_fields import COMPONENT, DEPLOYMENT, SERVICE, Table, Use
from adapters.manifests.gangs import GangInput
from solver.domain.errors import InvalidRequest
from solver.domain.gang import Gang, Pack

Read = Callable[..., GangInput]

#: Fields as the definitions of several releases list them, apart from what pods and resources hold below.
# fmt: off
OLDER = """
annotations labels priorityClassName pvcs services envs backendFramework restart providerOverride
topologyConstraint.topologyProfile topologyConstraint.packDomain
experimental.kvTransferPolicy.labelKey experimental.kvTransferPolicy.clusterTopologyName
experimental.kvTransferPolicy.domain experimental.kvTransferPolicy.enforcement
experimental.kvTransferPolicy.preferredWeight experimental.componentGroups
"""
NEWER = """
annotations labels priorityClassName components env backendFramework restart providerOverride
topologyConstraint.clusterTopologyName topologyConstraint.packDomain
experimental.kvTransferPolicy.labelKey experimental.kvTransferPolicy.clusterTopologyName
experimental.kvTransferPolicy.domain experimental.kvTransferPolicy.enforcement
experimental.kvTransferPolicy.preferredWeight experimental.componentGroups
"""
OLDER_SERVICE = """
annotations labels serviceName componentType subComponentType dynamoNamespace globalDynamoNamespace
resources.requests.cpu resources.requests.memory resources.requests.gpu resources.requests.gpuType
resources.requests.custom resources.limits.cpu resources.limits.memory resources.limits.gpu
resources.limits.gpuType resources.limits.custom resources.claims
autoscaling envs envFromSecret volumeMounts ingress modelRef sharedMemory
extraPodMetadata.annotations extraPodMetadata.labels extraPodSpec.mainContainer extraPodSpec.nodeName
livenessProbe readinessProbe replicas minAvailable multinode.nodeCount
multinode.leader.providerOverride multinode.worker.providerOverride roles
scalingAdapter eppConfig checkpoint topologyConstraint.packDomain frontendSidecar
gpuMemoryService.enabled gpuMemoryService.mode gpuMemoryService.deviceClassName
failover.enabled failover.mode failover.numShadows providerOverride
experimental.grove.forceScalingGroup
"""
NEWER_COMPONENT = """
name type podTemplate.metadata podTemplate.spec.containers podTemplate.spec.nodeName replicas minAvailable
multinode.nodeCount multinode.leader.providerOverride multinode.worker.providerOverride roles
sharedMemorySize modelRef scalingAdapter eppConfig frontendSidecar dynamoSidecar
compilationCache.pvcName compilationCache.mountPath topologyConstraint.packDomain providerOverride
globalDynamoNamespace runtimeVersionOverride lpx experimental.gpuMemoryService experimental.failover
experimental.checkpoint experimental.grove.forceScalingGroup
"""
# fmt: on
PLACES = [(OLDER, DEPLOYMENT), (NEWER, DEPLOYMENT), (OLDER_SERVICE, SERVICE), (NEWER_COMPONENT, COMPONENT)]


@pytest.mark.parametrize(("fields", "table"), PLACES, ids=["older", "newer", "service", "component"])
def test_every_field_has_an_entry(fields: str, table: Table) -> None:
    """Each field of the definitions is in the table, by its own name or as one of those a `*` stands for."""
    for path in fields.split():
        above = path.rpartition(".")[0]
        assert path in table or f"{above}.*" in table, path


def test_what_is_ignored_or_refused_says_why() -> None:
    """Only fields that are read need no reason."""
    for table in (DEPLOYMENT, SERVICE, COMPONENT):
        for path, entry in table.items():
            assert bool(entry.why) is (entry.use is not Use.HONOURED), path


def _service_file(extra: Mapping[str, Any], of_service: Mapping[str, Any]) -> str:
    worker = {"componentType": "worker", "replicas": 2, "resources": {"limits": {"gpu": "1"}}, **of_service}
    spec = {"services": {"engine": worker}, **extra}
    return _file(spec)


def _component_file(extra: Mapping[str, Any], of_component: Mapping[str, Any]) -> str:
    main = {"name": "main", "resources": {"limits": {"nvidia.com/gpu": "1"}}}
    worker = {"name": "engine", "type": "worker", "replicas": 2, "podTemplate": {"spec": {"containers": [main]}}}
    return _file({"components": [{**worker, **of_component}], **extra})


def _file(spec: Mapping[str, Any]) -> str:
    return yaml.safe_dump({"kind": "DynamoGraphDeployment", "metadata": {"name": "d"}, "spec": spec})


def _nested(path: str, value: Any) -> dict[str, Any]:
    for key in reversed(path.split(".")):
        value = {key: value}
    return value  # type: ignore[no-any-return]


FILES = {
    "deployment": (DEPLOYMENT, lambda extra: _service_file(extra, {})),
    "service": (SERVICE, lambda extra: _service_file({}, extra)),
    "component": (COMPONENT, lambda extra: _component_file({}, extra)),
}
ENTRIES = [(place, path) for place, (table, _) in FILES.items() for path in table]


@pytest.mark.parametrize(("place", "path"), [(p, f) for p, f in ENTRIES if FILES[p][0][f].use is Use.REFUSED])
def test_refused_fields_are_refused_by_name(read: Read, place: str, path: str) -> None:
    """A hard rule that cannot be honoured is refused with its path, or noted when that is asked for."""
    table, written = FILES[place]
    name = path.replace("*", "surprise")
    body = _nested(name, [{"name": "x"}] if name in ("roles", "experimental.componentGroups") else "x")
    if "kvTransferPolicy" in name:
        body["experimental"]["kvTransferPolicy"]["domain"] = "rack"
    text = written(body)
    with pytest.raises(InvalidRequest, match=f"{name}: {table[path].why}"):
        read(text)
    notices = read(text, ignore_unsupported=True).notices["default/d"]
    assert [notice.code for notice in notices if notice.field.endswith(name)] == ["unsupported_ignored"]


#: Fields that stand beside one that is read.
BESIDE = ("experimental.kvTransferPolicy.preferredWeight", "compilationCache.mountPath")
IGNORED = [(p, f) for p, f in ENTRIES if FILES[p][0][f].use is Use.IGNORED and f not in BESIDE]


@pytest.mark.parametrize(("place", "path"), IGNORED)
def test_ignored_fields_change_nothing(read: Read, place: str, path: str) -> None:
    """What does not matter for the place of a pod neither changes the gang nor is said."""
    written = FILES[place][1]
    plain, found = read(written({})), read(written(_nested(path.replace("*", "mode"), "x")))
    assert found.gangs == plain.gangs
    assert found.all_notices == plain.all_notices


@pytest.mark.parametrize("place", list(FILES))
def test_unknown_fields_are_named(read: Read, place: str) -> None:
    """A field nobody knows is a warning that says where it stands; so is one that hides behind a dot."""
    written = FILES[place][1]
    notices = read(written({"rackAware": False, "topologyConstraint.packDomain": "rack"})).all_notices
    assert {notice.code for notice in notices} == {"field_unknown"}
    assert [notice.field.endswith("rackAware") for notice in notices].count(True) == 1
    many = read(written({f"x{number}": 1 for number in range(5000)})).all_notices
    assert len(many) == 21
    assert "4980 more fields" in many[-1].message


def test_switches_that_are_off_are_no_rules(read: Read) -> None:
    """GPU memory service and failover count only where they are enabled, empty lists of roles not at all."""
    text = _service_file({}, {"gpuMemoryService": {"enabled": False}, "failover": {"enabled": False}, "roles": []})
    assert read(text).all_notices == ()
    leader = _service_file({}, {"multinode": {"nodeCount": 2, "leader": {}}})
    assert read(leader, model="qwen3-8b").all_notices == ()


def _override(value: Any, target: str = "PodCliqueSet", version: str = "grove.io/v1alpha1") -> dict[str, Any]:
    return {"providerOverride": {"apiVersion": version, "target": target, "value": value}}


def _gang(found: GangInput) -> Gang:
    (gang,) = found.gangs
    return gang


@pytest.mark.parametrize(
    ("constraint", "pack", "topology"),
    [
        ({"topologyName": "fabric", "pack": {"required": "rack"}}, Pack("rack"), "fabric"),
        ({"pack": {"required": "block", "preferred": "rack"}}, Pack("block", "rack"), ""),
        ({"packDomain": "zone"}, Pack("zone"), ""),
        ({"topologyName": "fabric"}, Pack(), "fabric"),
    ],
)
def test_grove_rules_of_the_whole_deployment_are_honoured(
    read: Read, constraint: Mapping[str, Any], pack: Pack, topology: str
) -> None:
    """A topologyConstraint in the override at the root is the rule of the root, whichever shape the file has."""
    extra = _override({"spec": {"template": {"topologyConstraint": constraint}}})
    for text in (_service_file(extra, {}), _component_file(extra, {})):
        gang = _gang(read(text))
        assert (gang.root.pack, gang.topology) == (pack, topology)


def test_grove_rules_of_a_component_are_honoured(read: Read) -> None:
    """The rule of a clique holds for all its pods, that of a scaling group for each multi-node replica."""
    value = {"topologyConstraint": {"pack": {"required": "rack"}}}
    (clique,) = _gang(read(_component_file({}, _override(value, "PodCliqueTemplateSpec")))).root.groups
    assert (clique.pack, clique.replicas, clique.roles[0].replicas) == (Pack("rack"), 1, 2)
    several = {"multinode": {"nodeCount": 4}, **_override(value, "PodCliqueScalingGroupConfig")}
    (engine,) = _gang(read(_component_file({}, several))).root.groups
    assert (engine.pack, engine.replicas, engine.multinode) == (Pack("rack"), 2, True)


GROVE = {"topologyConstraint": {"pack": {"required": "rack"}}}


@pytest.mark.parametrize(
    ("of_root", "of_component"),
    [
        (_override({"spec": {"replicas": 2}}), {}),
        (_override({"spec": {"template": {**GROVE, "cliques": []}}}), {}),
        (_override({"spec": {"template": {"topologyConstraint": {"pack": {"spread": "rack"}}}}}), {}),
        (
            _override(
                {"spec": {"template": {"topologyConstraint": {"packDomain": "zone", "pack": {"required": "a"}}}}}
            ),
            {},
        ),
        (_override({"spec": {"template": GROVE}}, version="disaggregatedset.example/v1"), {}),
        (_override({"spec": {"template": GROVE}}, target="PodClique"), {}),
        ({**_override({"spec": {"template": GROVE}}), "topologyConstraint": {"packDomain": "rack"}}, {}),
        ({"providerOverride": {}}, {}),
        ({}, _override(GROVE, "PodCliqueScalingGroupConfig")),
        ({}, {"multinode": {"nodeCount": 2}, **_override(GROVE, "PodCliqueTemplateSpec")}),
        ({}, {**_override(GROVE, "PodCliqueTemplateSpec"), "topologyConstraint": {"packDomain": "rack"}}),
    ],
)
def test_other_overrides_are_refused(read: Read, of_root: Mapping[str, Any], of_component: Mapping[str, Any]) -> None:
    """What an override says beside one pack rule of its own target is refused by name."""
    with pytest.raises(InvalidRequest, match=r"providerOverride: .*not supported"):
        read(_component_file(of_root, of_component))
    notices = read(_component_file(of_root, of_component), ignore_unsupported=True, model="qwen3-8b").all_notices
    assert [notice.code for notice in notices] == ["unsupported_ignored"]


def test_a_forced_scaling_group_packs_each_pod_alone(read: Read) -> None:
    """The rule of a forced scaling group is one of each replica, which as a single pod always keeps it."""
    rule = {"topologyConstraint": {"packDomain": "host"}}
    (packed,) = _gang(read(_component_file({}, rule))).root.groups
    assert packed.pack == Pack("host")
    forced = _gang(read(_component_file({}, {**rule, "experimental": {"grove": {"forceScalingGroup": True}}})))
    assert forced.root.groups == ()
    assert forced.root.roles[0].replicas == 2


CLAIM = (
    "kind: PersistentVolumeClaim\nmetadata: {name: cache}\nspec: {volumeName: v}\n"
    "---\nkind: PersistentVolume\nmetadata: {name: v}\n"
)


def test_claims_that_components_mount_are_volumes_of_their_pods(read: Read) -> None:
    """A claim in the input counts as a volume of the pod; one that is not there is said."""
    older = _service_file({"pvcs": [{"name": "cache"}]}, {"volumeMounts": [{"name": "cache", "mountPoint": "/m"}]})
    newer = _component_file({}, {"compilationCache": {"pvcName": "cache"}})
    for text, field in ((older, "volumeMounts[0].name"), (newer, "compilationCache.pvcName")):
        (notice,) = read(text).all_notices
        assert (notice.code, "cache is not in the input" in notice.message) == ("volume_ignored", True)
        assert notice.field.endswith(field)
        assert not [n for n in read(text, cluster=CLAIM).all_notices if "not in the input" in n.message]
        with pytest.raises(InvalidRequest, match="claim default/cache is not in the input"):
            read(text, cluster="kind: Node\nmetadata: {name: n}\n")


def test_claims_that_the_operator_makes_are_where_their_class_allows(read: Read) -> None:
    """They need not be in the input; their class has to be."""
    made = {"pvcs": [{"name": "cache", "create": True, "storageClass": "disks", "size": "1Gi"}]}
    text = _service_file(made, {"volumeMounts": [{"name": "cache", "mountPoint": "/m"}]})
    kind = (
        "kind: StorageClass\nmetadata: {name: disks}\nprovisioner: p\nvolumeBindingMode: WaitForFirstConsumer\n"
        "allowedTopologies: [{matchLabelExpressions: [{key: zone, values: [a]}]}]\n"
    )
    (gang,) = read(text, cluster=kind).gangs
    mounted = [volume for role in gang.roles for volume in role.constraints.volumes]
    assert [need.values for volume in mounted for term in volume.terms for need in term.labels] == [("a",)]
    with pytest.raises(InvalidRequest, match="its StorageClass disks is not in the input"):
        read(text, cluster="kind: Node\nmetadata: {name: n}\n")
