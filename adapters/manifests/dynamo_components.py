"""Components of a DynamoGraphDeployment, read alike from both published shapes.

`spec.services` is a map whose resources and pod spec are Dynamo's own; `spec.components` is a list with native pod
templates. Which one a file uses is seen by shape: published files mix it with either apiVersion.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from adapters.kubernetes.amounts import GPU_RESOURCE
from adapters.kubernetes.objects import Document, Fields, Part, Raw
from adapters.kubernetes.pods import PodShape
from adapters.kubernetes.quantity import QuantityError, parse_quantity
from adapters.manifests.compute_domains import domains_of
from adapters.manifests.dynamo_fields import COMPONENT, SERVICE, check_fields
from adapters.manifests.engines import Engine, read_engine
from adapters.manifests.kinds import COMPONENT_TYPE, SUB_COMPONENT_TYPE
from adapters.manifests.overrides import override_packing
from adapters.manifests.packing import Packing, annotated, packing
from adapters.manifests.reading import Reading
from solver.domain.errors import InvalidRequest
from solver.domain.gang import MAX_PODS

_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_MAIN = "main"
_CLIQUE, _SCALING_GROUP = "PodCliqueTemplateSpec", "PodCliqueScalingGroupConfig"
_FORCED = "experimental.grove.forceScalingGroup"
_CLAIM = "PersistentVolumeClaim"


@dataclass(frozen=True, slots=True)
class Component:
    """One component with at least one replica.

    declared, side: its type and sub-type in lower case, or empty. nodes: pods of one replica. needed: replicas that
    must be placed. gpus: devices of one replica. domains: ComputeDomains its pods are in. apart: it is a group of its
    own, because it spans nodes or has a pack rule.
    """

    name: str
    at: str
    declared: str
    side: str
    replicas: int
    needed: int
    nodes: int
    shape: PodShape
    engine: Engine
    packing: Packing
    gpus: int
    domains: tuple[str, ...] = ()

    @property
    def apart(self) -> bool:
        """Whether its replicas are kept together, each on its own."""
        return self.nodes > 1 or self.packing.packs


def read_components(reading: Reading) -> list[Component]:
    """All components that are not scaled to zero, in declared order."""
    doc = reading.doc
    services, components = doc.mapping("spec.services"), doc.parts("spec.components")
    if services and components:
        raise doc.refuse("spec", "has both services and components")
    if not services and not components:
        raise doc.refuse("spec", "has neither services nor components")
    if components:
        return [_component(reading, part, part.text("name"), _native_pod(part)) for part in _present(components)]
    found = []
    for name, body in services.items():
        if not isinstance(body, Mapping):
            raise doc.refuse(f"spec.services.{name}", "must be a mapping")
        found += [
            _component(reading, part, name, _service_pod(part, name))
            for part in _present([doc.within(body, f"spec.services.{name}")])
        ]
    return found


def _present(parts: list[Part]) -> list[Part]:
    return [part for part in parts if part.whole("replicas", 1, maximum=MAX_PODS)]


@dataclass(frozen=True, slots=True)
class _Template:
    """The pod of a component. at: its path. main: the container that serves. env: what it inherits."""

    pod: Raw
    at: str
    main: Fields
    env: tuple[list[Part], ...] = ()
    own_shape: bool = False


def _component(reading: Reading, part: Part, name: Any, template: _Template) -> Component:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise part.refuse("name", f"{name!r} is no component name")
    check_fields(reading, part, COMPONENT if template.own_shape else SERVICE)
    replicas, nodes = part.whole("replicas", 1), _nodes(part)
    if replicas * nodes > MAX_PODS:
        raise part.refuse("replicas", f"{replicas} replicas of {nodes} pods are more than {MAX_PODS} pods")
    pod = _with_claims(reading, part, _dressed(reading.doc, part, name, template.pod))
    shape = _shape(reading, pod, template)
    devices = reading.options.accelerators.devices(shape.requests)
    return Component(
        name=name,
        at=part.at,
        declared=(part.text("type", "") or part.text("componentType", "")).lower(),
        side=part.text("subComponentType", "").lower(),
        replicas=replicas,
        needed=part.whole("minAvailable", replicas, minimum=1, maximum=replicas),
        nodes=nodes,
        shape=shape,
        engine=read_engine(template.main, reading.doc.parts("spec.envs"), reading.doc.parts("spec.env"), *template.env),
        packing=_packing(reading, part, template.pod, nodes),
        gpus=nodes * devices,
        domains=domains_of(reading.world, part.within(pod, ""), reading.doc.namespace, devices > 0),
    )


def _nodes(part: Part) -> int:
    return part.whole("multinode.nodeCount", 2, minimum=1, maximum=MAX_PODS) if part.has("multinode") else 1


def _packing(reading: Reading, part: Part, pod: Raw, nodes: int) -> Packing:
    """The rule of a component: of each multi-node replica, or of all pods of a single-node one."""
    override = override_packing(reading, part, _SCALING_GROUP if nodes > 1 else _CLIQUE)
    domain = part.text("topologyConstraint.packDomain", "")
    template = part.within(pod, "podTemplate")
    rule = override or annotated(template.texts("metadata.annotations"), part.texts("annotations"))
    if domain:
        rule = packing(required=domain)
    if nodes == 1 and part.flag(_FORCED, False):  # the rule is then one of each replica, a single pod
        return Packing(rule.topology)
    return rule


def _dressed(doc: Document, part: Part, name: str, pod: Raw) -> Raw:
    """The pod with the labels Dynamo gives it, which anti-affinity may select, and what it inherits."""
    own = part.within(pod, "podTemplate")
    given = {
        "nvidia.com/dynamo-graph-deployment-name": doc.name,
        "nvidia.com/dynamo-component": name,
        COMPONENT_TYPE: part.text("type", "") or part.text("componentType", ""),
        SUB_COMPONENT_TYPE: part.text("subComponentType", ""),
    }
    labels = {key: value for key, value in given.items() if value}
    metadata: dict[str, Any] = dict(own.mapping("metadata"))
    for field in ("labels", "annotations"):
        inherited = {**doc.texts(f"spec.{field}"), **part.texts(field), **own.texts(f"metadata.{field}")}
        metadata[field] = {**(labels if field == "labels" else {}), **inherited}
    return {**pod, "metadata": metadata}


def _with_claims(reading: Reading, part: Part, pod: Raw) -> Raw:
    """The pod with the volumes that the component mounts by the name of their claim.

    Claims that the operator makes are volumes that each pod would have of its own, as far as the nodes they allow go.
    """
    doc = reading.doc
    wanted = [(mount.path("name"), mount.text("name")) for mount in part.parts("volumeMounts")]
    if part.has("compilationCache"):
        wanted.append((part.path("compilationCache.pvcName"), part.text("compilationCache.pvcName")))
    volumes = list(part.within(pod, "").items("spec.volumes"))
    made = {claim.text("name", ""): claim for claim in doc.parts("spec.pvcs") if claim.flag("create", False)}
    for at, claim in wanted:
        is_there = (_CLAIM, doc.namespace, claim) in reading.world.owners
        if not is_there and not reading.world.has_cluster:
            problem = f"the claim {claim} is not in the input: the nodes its volume is bound to are not known"
            reading.note("volume_ignored", at, problem)
        elif is_there or claim not in made:
            volumes.append({"name": claim, "persistentVolumeClaim": {"claimName": claim}})
        else:
            volumes.append({"name": claim, "ephemeral": {"volumeClaimTemplate": _claim_template(made[claim])}})
    return {**pod, "spec": {**part.within(pod, "").mapping("spec"), "volumes": volumes}} if volumes else pod


def _claim_template(claim: Part) -> Raw:
    """What the operator will ask for."""
    spec = {
        "storageClassName": claim.text("storageClass", None),
        "accessModes": [mode] if (mode := claim.text("volumeAccessMode", "")) else [],
        "resources": {"requests": {"storage": claim.find("size")}},
    }
    return {"spec": spec}


def _native_pod(part: Part) -> _Template:
    """The pod template of a component of the newer shape."""
    template = part.part("podTemplate")
    containers = template.parts("spec.containers")
    main = [container for container in containers if container.text("name", "") == _MAIN] or containers
    empty = part.within({}, "podTemplate")
    return _Template(template.body, template.at, main[0] if main else empty, own_shape=True)


def _service_pod(part: Part, name: Any) -> _Template:
    """A pod template made of a service's resources and extraPodSpec."""
    extra = dict(part.mapping("extraPodSpec"))
    main = part.part("extraPodSpec.mainContainer")
    extra.pop("mainContainer", None)
    others = part.items("extraPodSpec.containers")
    container = {**main.body, "name": _MAIN, "resources": _resources(part, main)}
    metadata = {
        "labels": part.texts("extraPodMetadata.labels"),
        "annotations": part.texts("extraPodMetadata.annotations"),
    }
    pod = {"metadata": metadata, "spec": {**extra, "containers": [container, *others]}}
    return _Template(pod, part.path("extraPodSpec"), main, (part.parts("envs"),))


def _resources(part: Part, main: Part) -> dict[str, Any]:
    """Native resources of a service; what its main container says itself wins."""
    gpu_name = part.text("resources.limits.gpuType", "") or part.text("resources.requests.gpuType", "")
    found: dict[str, Any] = {"claims": [*part.items("resources.claims"), *main.items("resources.claims")]}
    for side in ("requests", "limits"):
        own = _native_amounts(part, f"resources.{side}", gpu_name or GPU_RESOURCE)
        found[side] = {**own, **main.mapping(f"resources.{side}")}
    return found


def _native_amounts(part: Part, path: str, gpu_name: str) -> dict[str, Any]:
    named = {key: (f"{path}.{key}", key) for key in ("cpu", "memory")}
    named["gpu"] = (f"{path}.gpu", gpu_name)
    amounts = {target: (where, part.find(where)) for where, target in named.values()}
    custom = part.mapping(f"{path}.custom")
    amounts.update({key: (f"{path}.custom[{key}]", value) for key, value in custom.items()})
    found = {}
    for target, (where, value) in amounts.items():
        if value is not None and value != "":
            found[target] = _checked(part, where, value, whole="/" in str(target))
    return found


def _checked(part: Part, where: str, value: Any, *, whole: bool) -> Any:
    """The quantity as written, refused at the place where it was written."""
    try:
        amount = parse_quantity(value)
    except QuantityError as error:
        raise part.refuse(where, str(error)) from error
    if whole and not isinstance(amount, int):
        raise part.refuse(where, f"must be a whole number, not {value!r}")
    return value


def _shape(reading: Reading, pod: Raw, template: _Template) -> PodShape:
    """The shape of a component's pod; messages name fields as the file spells them."""
    if template.own_shape:
        return reading.shape(pod, template.at)
    aside = replace(reading, notices=[])
    try:
        shape = aside.shape(pod, template.at)
    except InvalidRequest as error:
        raise InvalidRequest(_spelt(str(error))) from error
    reading.notices += [replace(notice, field=_spelt(notice.field)) for notice in aside.notices]
    return shape


def _spelt(text: str) -> str:
    path = text.replace(".extraPodSpec.spec.containers[0].resources.claims", ".resources.claims")
    path = path.replace(".extraPodSpec.spec.containers[0]", ".extraPodSpec.mainContainer")
    path = path.replace(".extraPodSpec.metadata.", ".extraPodMetadata.")
    return path.replace(".extraPodSpec.spec.", ".extraPodSpec.")
