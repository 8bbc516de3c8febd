"""Where the API server is and who calls it: a kubeconfig, or the service account of the pod this runs in.

The official client reads both, with everything they may hold: tokens, token files, certificates, plugins, proxies.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from adapters.kubernetes.objects import one_line
from solver.domain.errors import SourceUnavailable

if TYPE_CHECKING:
    from kubernetes.aio.client.configuration import Configuration

_ACCOUNT_TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
_SERVICE_HOST = "KUBERNETES_SERVICE_HOST"
_SERVICE_ACCOUNT = "service account"


async def load_credentials(kubeconfig: str | None = None, context: str | None = None) -> "Configuration":
    """The server's address, how to trust it, and who calls, read afresh.

    kubeconfig, context: as for kubectl. Without them: the service account when this runs in a pod and $KUBECONFIG is
    not set, else $KUBECONFIG or ~/.kube/config. Raises SourceUnavailable, in one line.
    """
    from kubernetes.aio.client.configuration import Configuration
    from kubernetes.aio.config import load_incluster_config, load_kube_config

    found = Configuration()
    source = _SERVICE_ACCOUNT
    if kubeconfig is not None or context is not None or not _in_pod(os.environ):
        source = _existing(kubeconfig or os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config"))
    try:
        if source == _SERVICE_ACCOUNT:
            load_incluster_config(client_configuration=found)  # type: ignore[no-untyped-call]
        else:
            await load_kube_config(source, context, found, persist_config=False)  # type: ignore[no-untyped-call]
    except Exception as error:  # the reader lets through whatever a malformed file leads to
        problem = f"{source}: cannot be used to reach a cluster: {error or type(error).__name__}"
        raise SourceUnavailable(one_line(problem)) from error
    return found


def _in_pod(environ: Mapping[str, str]) -> bool:
    return bool(environ.get(_SERVICE_HOST)) and not environ.get("KUBECONFIG") and _ACCOUNT_TOKEN.exists()


def _existing(paths: str) -> str:
    """The paths of kubeconfigs, as $KUBECONFIG has them, if there is a file at any of them."""
    if not any(Path(path).expanduser().is_file() for path in paths.split(os.pathsep) if path):
        raise SourceUnavailable(one_line(f"{paths}: no such kubeconfig; name one with --kubeconfig or $KUBECONFIG"))
    return paths
