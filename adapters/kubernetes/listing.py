"""All objects of a kind, in the best API version the server has."""

from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass

from adapters.kubernetes.api import Api
from adapters.kubernetes.api_errors import NotFound, Refused
from adapters.kubernetes.decoding import Body, decoder
from adapters.kubernetes.garbage import garbage_collection_paused
from adapters.kubernetes.resources import Resource


@dataclass(frozen=True, slots=True)
class Listing:
    """A list. version: of the API group. since: the resource version it shows. bodies: with kind and version."""

    version: str
    since: str
    bodies: list[Body]


async def list_kind(api: Api, resource: Resource, page: int, query: Mapping[str, str] | None = None) -> Listing:
    """Every object of a kind. Raises ApiError; NotFound when the server does not know the kind in any version."""
    for version in resource.versions:
        try:
            return await _pages(api, resource, version, page, query)
        except NotFound:
            continue
        except Refused:
            if await _is_served(api, resource, version):
                raise
    raise NotFound(404, "NotFound", f"the API server does not know {resource}")


async def _pages(api: Api, resource: Resource, version: str, page: int, query: Mapping[str, str] | None) -> Listing:
    bodies: list[Body] = []
    since = ""
    api_version = f"{resource.group}/{version}".lstrip("/")
    with garbage_collection_paused():
        pages = api.list_pages(resource.path(version=version), query, page, decoder(resource).page)
        async with aclosing(pages) as found:
            async for each in found:
                for body in each.get("items") or ():
                    body.setdefault("apiVersion", api_version)
                    body.setdefault("kind", resource.kind)
                    bodies.append(body)
                since = each["metadata"]["resourceVersion"]
    return Listing(version, since, bodies)


async def _is_served(api: Api, resource: Resource, version: str) -> bool:
    """Whether a kind that must not be read is there at all; a server refuses what it does not know, too."""
    try:
        group = await api.get(resource.base(version))
    except NotFound:
        return False
    return any(kind.get("name") == resource.plural for kind in group.get("resources") or ())
