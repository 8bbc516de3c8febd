"""What is installed is what its sources say, and the pod is as locked up as it can be."""

import tomllib
from pathlib import Path

import pytest
import yaml

from adapters.apply.naming_node import MANAGED
from adapters.cli.controller import controller_command
from adapters.extender.leader import LEADS_LABEL
from adapters.extender.server import VERBS
from adapters.kubernetes.resources import MIRRORED
from deploy.render import objects, rendered

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def one(kind: str, name: str = "huddle-controller") -> dict[str, object]:
    """The installed object of a kind."""
    (found,) = [body for body in objects() if (body["kind"], body["metadata"]["name"]) == (kind, name)]
    return found


@pytest.mark.parametrize("path", sorted(rendered()))
def test_rendered(path: str) -> None:
    """Files that are made are as `python deploy/render.py` makes them."""
    assert (DEPLOY / path).read_text("utf-8") == rendered()[path]


def test_everything_is_installed() -> None:
    """Every YAML file that is not made from others is named in kustomization.yaml, and so is every definition.

    What the extender adds has a folder of its own.
    """
    folder = DEPLOY / "controller"
    named = yaml.safe_load((folder / "kustomization.yaml").read_text("utf-8"))["resources"]
    files = {str(path.relative_to(folder)) for path in folder.rglob("*.yaml")}
    assert set(named) == files - {"kustomization.yaml"}
    assert list(yaml.safe_load_all((DEPLOY / "install.yaml").read_text("utf-8"))) == objects()


def test_the_pod_is_locked_up() -> None:
    """Two replicas, not root, nothing to write but /tmp, no rights beyond its account's, a budget that keeps one."""
    spec = one("Deployment")["spec"]
    assert isinstance(spec, dict)
    assert spec["replicas"] == 2
    pod = spec["template"]["spec"]
    assert pod["serviceAccountName"] == one("ServiceAccount")["metadata"]["name"]  # type: ignore[index]
    assert pod["securityContext"]["runAsNonRoot"]
    (container,) = pod["containers"]
    locked = container["securityContext"]
    assert (locked["readOnlyRootFilesystem"], locked["allowPrivilegeEscalation"]) == (True, False)
    assert locked["capabilities"] == {"drop": ["ALL"]}
    assert {"livenessProbe", "readinessProbe"} <= set(container)
    budget = one("PodDisruptionBudget")["spec"]
    assert isinstance(budget, dict)
    assert budget["minAvailable"] == 1
    labels = spec["template"]["metadata"]["labels"]
    for selector in (spec["selector"], budget["selector"], one("NetworkPolicy")["spec"]["podSelector"]):  # type: ignore[index]
        assert selector["matchLabels"].items() <= labels.items()


def test_who_may_come_in_is_named() -> None:
    """Each port that is open to others says to whom, with the extender and without."""
    patch = yaml.safe_load((DEPLOY / "extender" / "network-policy-patch.yaml").read_text("utf-8"))
    for policy in (one("NetworkPolicy"), patch):
        for rule in policy["spec"]["ingress"]:  # type: ignore[index]
            assert rule["from"], rule
            assert all(rule["from"]), "an empty selector is everybody"
            assert rule["ports"]


def test_policies_are_about_the_account() -> None:
    """Each is bound, denies, fails closed, and is about the account that is installed."""
    account = one("ServiceAccount")["metadata"]
    user = f"system:serviceaccount:{account['namespace']}:{account['name']}"  # type: ignore[index]
    policies = {body["metadata"]["name"]: body for body in objects() if body["kind"] == "ValidatingAdmissionPolicy"}
    bindings = [body["spec"] for body in objects() if body["kind"] == "ValidatingAdmissionPolicyBinding"]
    assert {binding["policyName"] for binding in bindings} == set(policies)
    assert all(binding["validationActions"] == ["Deny"] for binding in bindings)
    for policy in policies.values():
        assert policy["spec"]["failurePolicy"] == "Fail"
        (condition,) = policy["spec"]["matchConditions"]
        assert condition["expression"] == f"request.userInfo.username == '{user}'"


def test_what_the_extender_adds() -> None:
    """The patches are about what is installed, the arguments are those of the command, and the Service finds a port."""
    folder = DEPLOY / "extender"
    overlay = yaml.safe_load((folder / "kustomization.yaml").read_text("utf-8"))
    named = {patch["path"] for patch in overlay["patches"]} | set(overlay["resources"])
    assert named - {"../controller"} == {path.name for path in folder.iterdir()} - {
        "kustomization.yaml",
        "scheduler.yaml",
    }
    patch, policy, service = (
        yaml.safe_load((folder / name).read_text("utf-8"))
        for name in ("deployment-patch.yaml", "network-policy-patch.yaml", "service.yaml")
    )
    for body in (patch, policy):
        assert one(body["kind"], body["metadata"]["name"])["apiVersion"] == body["apiVersion"]
    (container,), (before,) = (
        body["spec"]["template"]["spec"]["containers"]
        for body in (patch, one("Deployment"))  # type: ignore[index]
    )
    assert container["args"][: len(before["args"])] == before["args"]
    known = {option for parameter in controller_command.params for option in parameter.opts}
    assert {word for word in container["args"] if word.startswith("--")} <= known
    (port,) = service["spec"]["ports"]
    assert {"name": port["targetPort"], "containerPort": port["port"], "protocol": "TCP"} in container["ports"]
    assert LEADS_LABEL in service["spec"]["selector"]
    (extender,) = yaml.safe_load((folder / "scheduler.yaml").read_text("utf-8"))["extenders"]
    metadata = service["metadata"]
    assert extender["urlPrefix"] == f"https://{metadata['name']}.{metadata['namespace']}.svc:{port['port']}"
    assert {extender[f"{verb}Verb"] for verb in VERBS} == set(VERBS)
    assert [each["name"] for each in extender["managedResources"]] == list(MANAGED)


def test_image_is_of_this_version() -> None:
    """The image bears the version of the project."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    (container,) = one("Deployment")["spec"]["template"]["spec"]["containers"]  # type: ignore[index]
    assert container["image"] == f"huddle:{version}"
    assert f"huddle:{version}" in (DEPLOY / "Dockerfile").read_text("utf-8")


def test_rights_cover_what_is_watched() -> None:
    """Every kind the mirror shows may be listed and watched, and of kinds that are not written nothing else."""
    rules = one("ClusterRole")["rules"]
    assert isinstance(rules, list)
    verbs: dict[tuple[str, str], set[str]] = {}
    for rule in rules:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                verbs.setdefault((group, resource), set()).update(rule["verbs"])
    watched = {(resource.group, resource.plural) for resource in MIRRORED}
    assert all(verbs[one] >= {"list", "watch"} for one in watched)
    written = {name for name, allowed in verbs.items() if allowed - {"list", "watch"}}
    assert written == {
        ("", "pods"),
        ("", "pods/binding"),
        ("", "pods/eviction"),
        ("", "pods/status"),
        ("huddle.scheduler", "gangs/status"),
        ("huddle.scheduler", "placements"),
        ("huddle.scheduler", "placements/status"),
        ("events.k8s.io", "events"),
    }
    assert set(verbs) - written <= watched
    assert not any("*" in word for rule in rules for words in rule.values() for word in words)
