"""What a controller needs of the API server, looked at before it starts, so that the first error says what to do."""

from adapters.kubernetes.api import Api
from adapters.kubernetes.api_errors import NotFound, Refused
from adapters.kubernetes.resources import GANGS, NODES, PLACEMENTS, PODS, Resource
from solver.domain.errors import SourceUnavailable

INSTALL = "kubectl apply -f deploy/install.yaml"


async def check_server(api: Api) -> None:
    """Raise SourceUnavailable, in one sentence, unless nodes, pods, Gangs and Placements are there and can be read."""
    for resource in (NODES, PODS, GANGS, PLACEMENTS):
        await _check(api, resource)


async def _check(api: Api, resource: Resource) -> None:
    try:
        await api.get(resource.path(), {"limit": "1"})
    except NotFound as error:
        raise SourceUnavailable(f"{api.server} does not know {resource}: {INSTALL}") from error
    except Refused as error:
        raise SourceUnavailable(f"{error}; the roles that a controller needs: {INSTALL}") from error
