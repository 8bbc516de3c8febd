"""ComputeDomains: NVLink among all pods whose resource claims are made from the claim template of one.

The pods of a gang that share one lie in one domain of the level `nvl`: they become a group with that pack rule. Domains
that share pods are one. Grove's annotation `grove.io/mnnvl-group` stands for a domain that Grove makes for its cliques.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from adapters.kubernetes.objects import Fields
from adapters.kubernetes.pods import Finding
from adapters.manifests.reading import COMPUTE_DOMAIN_REQUIRED, Reading, World
from solver.domain.gang import Group, Pack
from solver.domain.levels import NARROWEST, NVL

KIND = "ComputeDomain"
MNNVL_GROUP = "grove.io/mnnvl-group"
_NO_LEVEL = "promises NVLink among its pods, but the topology has no level nvl"
_SHARED = "its NVLink domain is shared by replicas that are gangs of their own"
_NO_GROUP = "its pods share a group with others that cannot be told apart, which is not supported"


def compute_domain_of(world: World, namespace: str, claim_template: str) -> str:
    """Name of the ComputeDomain whose channels the claims of a template are; empty if there is none."""
    return world.compute_domains.get((namespace, claim_template), "")


def domains_of(world: World, pod: Fields, namespace: str, has_gpus: bool) -> tuple[str, ...]:
    """ComputeDomains that a pod, or pod template with `metadata` and `spec`, has a claim in.

    has_gpus: whether it asks for GPUs; Grove gives no other pods a claim of its own.
    """
    templates = [claim.text("resourceClaimTemplateName", "") for claim in pod.parts("spec.resourceClaims")]
    found = [compute_domain_of(world, namespace, template) for template in templates if template]
    group = pod.texts("metadata.annotations").get(MNNVL_GROUP, "")
    names = [f"{KIND} {name}" for name in found if name]
    names += [f"{MNNVL_GROUP} {group}"] if has_gpus and group not in ("", "none") else []
    return tuple(dict.fromkeys(names))


def keep_domains(reading: Reading, root: Group, topology: str, domains: Mapping[str, Sequence[str]]) -> Group:
    """The tree of groups with the pods of each ComputeDomain in a group of their own.

    domains: role → the domains its pods are in. Where the topology has no level nvl, or the pods cannot be grouped,
    that is unsupported; with the option `preferred` it is only said. Raises InvalidRequest that names the object.
    """
    for domain in _merged(domains):
        if not _has_level(reading, topology):
            _tell(reading, domain.name, _NO_LEVEL)
            continue
        pack = Pack(required=NVL) if reading.options.compute_domain == COMPUTE_DOMAIN_REQUIRED else Pack(preferred=NVL)
        grouped = _grouped(root, _Wish(domain.name, domain.roles, pack))
        if grouped is None:
            _tell(reading, domain.name, _NO_GROUP)
        else:
            root = grouped
    return root


def refuse_sharing(reading: Reading, domains: Mapping[str, Sequence[str]], replicas: int) -> None:
    """Several replicas that are gangs of their own cannot be held in one domain: unsupported where that is required."""
    if replicas > 1 and reading.options.compute_domain == COMPUTE_DOMAIN_REQUIRED:
        for domain in dict.fromkeys(domain for found in domains.values() for domain in found):
            reading.unsupported(Finding(domain, _SHARED))


@dataclass(frozen=True, slots=True)
class _Domain:
    """Domains that share pods, and the roles of those pods."""

    names: tuple[str, ...]
    roles: frozenset[str]

    @property
    def name(self) -> str:
        return self.names[0]


@dataclass(frozen=True, slots=True)
class _Wish:
    """What is to become of some roles. name: of the group they get."""

    name: str
    roles: frozenset[str]
    pack: Pack


def _merged(domains: Mapping[str, Sequence[str]]) -> list[_Domain]:
    """Each domain with its roles; those that share a role are one."""
    found: list[_Domain] = []
    for role, names in domains.items():
        if not names:
            continue
        touching = [domain for domain in found if not set(names).isdisjoint(domain.names)]
        known = (name for domain in touching for name in domain.names)
        roles = frozenset({role}).union(*(domain.roles for domain in touching))
        merged = _Domain(tuple(dict.fromkeys((*known, *names))), roles)
        found = [domain for domain in found if domain not in touching] + [merged]
    return found


def _has_level(reading: Reading, topology: str) -> bool:
    """Whether the topology has NVLink domains, as far as anybody knows."""
    topology_of = reading.world.topology_of
    return topology_of is None or topology_of(topology).find(NVL) is not None


def _tell(reading: Reading, domain: str, problem: str) -> None:
    if reading.options.compute_domain == COMPUTE_DOMAIN_REQUIRED:
        reading.unsupported(Finding(domain, problem))
    else:
        reading.note("unsupported_soft", domain, problem)


def _grouped(group: Group, wish: _Wish) -> Group | None:
    """A group that does not replicate, with the wish kept in it; None if its roles cannot be told apart from others.

    Groups below that replicate are taken whole: all their replicas share the domain.
    """
    for at, child in enumerate(group.groups):
        if child.replicas == 1 and wish.roles <= _roles(child):
            inner = _grouped(child, wish)
            return inner and replace(group, groups=(*group.groups[:at], inner, *group.groups[at + 1 :]))
    if wish.roles == _roles(group):
        return _whole(group, wish)
    roles = tuple(role for role in group.roles if role.name in wish.roles)
    groups = tuple(child for child in group.groups if _roles(child) & wish.roles)
    if group.min is not None or any(not _roles(child) <= wish.roles for child in groups):
        return None
    apart = Group(wish.name, roles, groups, pack=wish.pack)
    return replace(
        group,
        roles=tuple(role for role in group.roles if role not in roles),
        groups=(apart, *(child for child in group.groups if child not in groups)),
    )


def _whole(group: Group, wish: _Wish) -> Group:
    """A group all of whose pods are meant: the rule is its own if it has none, else that of a group inside it."""
    if group.pack in (Pack(), Pack(preferred=NARROWEST), wish.pack):  # nvl is the narrowest place there is
        return replace(group, pack=wish.pack)
    return Group(group.name, groups=(replace(group, name=wish.name, pack=wish.pack),), pack=group.pack)


def _roles(group: Group) -> frozenset[str]:
    return frozenset(role.name for each in group.walk() for role in each.roles)
