"""DynamoGraphDeployment: one gang of all its components."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from adapters.kubernetes.objects import Document
from adapters.kubernetes.running import QUEUE_LABEL
from adapters.manifests.compute_domains import keep_domains
from adapters.manifests.dynamo_components import Component, read_components
from adapters.manifests.dynamo_fields import DEPLOYMENT, check_fields
from adapters.manifests.dynamo_groups import component_group, component_role, role_names_of
from adapters.manifests.dynamo_members import ComponentPods, missing_pods, read_component_pods, with_own_requests
from adapters.manifests.kinds import kind_of_name, kind_of_type
from adapters.manifests.overrides import override_packing
from adapters.manifests.packing import Packing, annotated, one_topology, packing
from adapters.manifests.reading import FoundGang, Reading, located
from adapters.manifests.traffic import Endpoint, deployment_flows, renamed_flow, renamed_reach, role_names
from solver.domain.gang import Gang, Group, Kind, Pattern, Reach, Role

DEPLOYMENT_KIND = "DynamoGraphDeployment"
QUEUE_ANNOTATION = "nvidia.com/kai-scheduler-queue"
_POLICY = "spec.experimental.kvTransferPolicy"
_ROOT_TARGET, _ROOT_PLACE = "PodCliqueSet", ("spec", "template")


def read_deployment(reading: Reading, invent: bool = True) -> FoundGang:
    """The gang of one deployment, named `namespace/name`.

    A role per component, named as written; its pods are those that exist, by the names they have, and beside them
    `<namespace>/<component>-<i>`, with `-<rank>` where a replica spans nodes. Of a multi-node component some of whose
    replicas run each becomes a group and a role of its own, `<component>#<i>`. Components with replicas 0 are absent.
    invent: whether the gang has pods that do not exist yet.
    """
    doc = reading.doc
    if not doc.name:
        raise doc.refuse("metadata.name", "is missing")
    check_fields(reading, doc.part("spec"), DEPLOYMENT)
    components = read_components(reading)
    pods_of = read_component_pods(reading, components, invent)
    endpoints = _endpoints(components)
    root_rule, policy = _root_packing(reading), _kv_policy(reading, endpoints)
    rules = [root_rule, policy.packing, *(component.packing for component in components)]
    flows = deployment_flows(reading, endpoints, Pattern.NEAREST if policy.reach else Pattern.ALL_TO_ALL)
    names = {component.name: role_names_of(component, pods_of[component.name]) for component in components}
    topology, priority, queue = one_topology(doc, rules), reading.priority(), _queue(reading)
    domains = {role: component.domains for component in components for role in names[component.name]}
    with located(doc):
        root = with_own_requests(reading, _root(doc.full_name, components, pods_of, endpoints, root_rule))
    root = keep_domains(reading, root, topology, domains)
    with located(doc):
        gang = Gang(
            doc.full_name,
            root,
            priority,
            queue,
            topology,
            tuple(renamed_flow(flow, names) for flow in flows),
            tuple(renamed_reach(reach, names) for reach in policy.reach),
            tuple(member for pods in pods_of.values() for member in pods.running),
        )
    return reading.found(gang)


def missing_members(reading: Reading, others: Sequence[Document]) -> dict[str, int]:
    """Component → pods that the deployment declares and that do not exist. others: that exist and are no members."""
    return missing_pods(reading, read_components(reading), others)


def _root(
    name: str,
    components: Sequence[Component],
    pods_of: Mapping[str, ComponentPods],
    endpoints: Sequence[Endpoint],
    rule: Packing,
) -> Group:
    roles: list[Role] = []
    groups: list[Group] = []
    for component, endpoint in zip(components, endpoints, strict=True):
        pods = pods_of[component.name]
        if component.apart:
            groups.append(component_group(component, pods, endpoint.kind))
        else:
            roles.append(component_role(component, endpoint.kind, pods.replicas[0]))
    return Group(name, tuple(roles), tuple(groups), pack=rule.pack)


def _endpoints(components: Sequence[Component]) -> list[Endpoint]:
    """Components as the flows see them; beside prefill workers alone, plain workers decode."""
    marked = [_marked(component) for component in components]
    alone = Kind.DECODE if Kind.PREFILL in marked and Kind.DECODE not in marked else Kind.WORKER
    return [
        Endpoint(
            component.name,
            kind or _unmarked(component, alone),
            component.engine,
            component.gpus,
            component.nodes,
            is_dynamo=True,
        )
        for component, kind in zip(components, marked, strict=True)
    ]


def _marked(component: Component) -> Kind | None:
    """The kind said by type, sub-type, name or flags."""
    typed = kind_of_type(component.declared) or kind_of_type(component.side)
    return typed or kind_of_name(component.name) or component.engine.side


def _unmarked(component: Component, worker: Kind) -> Kind:
    if component.declared != "worker" and not component.gpus:
        return Kind.OTHER
    encodes = component.side or "encode" in component.name.lower()
    return Kind.WORKER if encodes else worker


def _root_packing(reading: Reading) -> Packing:
    """The rule of the whole deployment: its topologyConstraint or override, else KAI's annotations on it."""
    doc = reading.doc
    constraint = doc.part("spec.topologyConstraint")
    topology = constraint.text("topologyProfile", "") or constraint.text("clusterTopologyName", "")
    domain = constraint.text("packDomain", "")
    override = override_packing(reading, doc.part("spec"), _ROOT_TARGET, _ROOT_PLACE)
    rule = override or annotated(doc.annotations, doc.texts("spec.annotations"))
    if domain:
        return packing(topology or rule.topology, required=domain)
    return Packing(topology or rule.topology, rule.pack)


@dataclass(frozen=True, slots=True)
class _KvPolicy:
    packing: Packing
    reach: tuple[Reach, ...] = ()


def _kv_policy(reading: Reading, endpoints: Sequence[Endpoint]) -> _KvPolicy:
    """Where KV caches may travel: `required` becomes a reach rule, `preferred` is noted."""
    doc = reading.doc
    if not doc.has(_POLICY):
        return _KvPolicy(Packing())
    policy = doc.part(_POLICY)
    enforcement = policy.text("enforcement", "") or "required"
    if enforcement not in ("required", "preferred"):
        raise policy.refuse("enforcement", f"must be required or preferred, not {enforcement!r}")
    level = policy.text("labelKey", "") or policy.text("domain")
    if enforcement == "preferred":
        reading.note("unsupported_soft", policy.path("enforcement"), "a preferred KV domain is not considered")
        return _KvPolicy(Packing())
    senders, receivers = role_names(endpoints, Kind.PREFILL), role_names(endpoints, Kind.DECODE)
    if not senders or not receivers:
        reading.note("kv_policy_unused", _POLICY, "there is no prefill and decode for it to bind")
        return _KvPolicy(Packing())
    topology = policy.text("clusterTopologyName", "")
    return _KvPolicy(packing(topology), (Reach(senders, receivers, level),))


def _queue(reading: Reading) -> str:
    doc = reading.doc
    named = doc.annotations.get(QUEUE_ANNOTATION) or doc.labels.get(QUEUE_LABEL)
    return named or doc.texts("spec.labels").get(QUEUE_LABEL, "")
