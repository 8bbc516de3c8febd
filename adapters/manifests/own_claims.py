"""Claims that a controller makes for the pods of a template: one for each pod, or one for all of a job."""

from collections.abc import Sequence

from adapters.kubernetes.objects import Document, Fields, Raw
from adapters.kubernetes.pods import Finding, PodShape
from adapters.manifests.reading import Reading
from solver.domain.constraints import VolumeNodes


def with_own_claims(reading: Reading, shape: PodShape, at: str, pods: Sequence[str]) -> PodShape:
    """The shape of pods that have a claim `<template>-<pod>` for each template in the list at field `at` of the object.

    pods: `namespace/pod` of those that wait. Claims that do not exist yet are where their template allows them to be.
    Pods whose volumes are on different nodes are refused or said.
    """
    templates = reading.doc.parts(at)
    found: dict[tuple[VolumeNodes, ...], PodShape] = {}
    for pod in pods if templates else ():
        name = pod.partition("/")[2]
        volumes = [_volume(reading, template, f"{template.text('metadata.name', '')}-{name}") for template in templates]
        mounted = reading.mounting(shape, reading.doc.within({"spec": {"volumes": volumes}}, at), reading.doc, name)
        found.setdefault(mounted.constraints.volumes, mounted)
        if len(found) > 1:
            reading.unsupported(Finding(at, "the volumes of its pods are on different nodes, which is not supported"))
            return shape
    return next(iter(found.values()), shape)


def job_volumes(job: Document) -> list[Raw]:
    """Volumes that a Volcano Job adds to all its pods; raises InvalidRequest for malformed ones."""
    found: list[Raw] = []
    for index, volume in enumerate(job.parts("spec.volumes") if job.api_group == "batch.volcano.sh" else ()):
        claim = volume.text("volumeClaimName", "")
        if volume.has("volumeClaim"):
            template = {"spec": volume.mapping("volumeClaim")}
            found.append({"name": claim or f"volume-{index}", "ephemeral": {"volumeClaimTemplate": template}})
        elif claim:
            found.append({"name": claim, "persistentVolumeClaim": {"claimName": claim}})
    return found


def with_volumes(template: Fields, volumes: Sequence[Raw]) -> Raw:
    """A pod template with more volumes."""
    if not volumes:
        return template.body
    spec = {**template.mapping("spec"), "volumes": [*template.items("spec.volumes"), *volumes]}
    return {**template.body, "spec": spec}


def _volume(reading: Reading, template: Fields, claim: str) -> Raw:
    if reading.world.storage.claim(reading.doc.namespace, claim) is not None:
        return {"name": claim, "persistentVolumeClaim": {"claimName": claim}}
    return {"name": claim, "ephemeral": {"volumeClaimTemplate": {"spec": template.mapping("spec")}}}
