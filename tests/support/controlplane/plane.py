"""A real control plane on this machine: etcd and kube-apiserver, and on request kube-scheduler and kwok.

There is no kube-controller-manager: nothing makes pods for Jobs, collects garbage, ends a namespace or marks a silent
node. The admission plugins that need one (ServiceAccount, TaintNodesByCondition) are off; RBAC is on.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import urllib3

from support.controlplane.api import Api, Refused
from support.controlplane.binaries import MODULES, find
from support.controlplane.certificates import Authority, signing_key
from support.controlplane.daemon import Daemon
from support.controlplane.ports import Port, claim_port
from support.controlplane.waiting import TooLate, eventually

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

#: Users with a token, and their groups. Only `admin` may do anything before a test grants it.
USERS: Mapping[str, Sequence[str]] = {
    "admin": ("system:masters",),
    "controller": (),
    "rival": (),
    "auditor": (),
    "nobody": (),
}
#: Served beside what is on by default: gangs of Kubernetes itself.
NATIVE_GANGS = ("--runtime-config=scheduling.k8s.io/v1beta1=true", "--feature-gates=GenericWorkload=true")
READY_S = 90.0
_SCHEDULER_CONFIG = {"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration"}
_PUBLIC = "/healthz,/livez,/readyz,/metrics"


class ControlPlane:
    """etcd and kube-apiserver at work, from the moment this exists until `stop`.

    folder: logs, keys, kubeconfigs and the data of etcd.
    flags: more flags for kube-apiserver.
    """

    def __init__(self, folder: Path, flags: Sequence[str] = NATIVE_GANGS) -> None:
        self.folder, self._flags = folder, tuple(flags)
        self.authority = Authority()
        self.daemons: dict[str, Daemon] = {}
        self._ports: list[Port] = []
        self._apis: dict[str, Api] = {}
        self._write_secrets()
        self._etcd, self._secure = f"http://127.0.0.1:{self._port()}", self._port()
        self.url = f"https://127.0.0.1:{self._secure}"
        try:
            self._start_etcd()
            self.start_api_server()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End every server at once, free the ports, drop the data; the logs stay."""
        for name in reversed(tuple(self.daemons)):
            self.daemons.pop(name).kill()
        for api in self._apis.values():
            api.close()
        for port in self._ports:
            port.release()
        shutil.rmtree(self.folder / "etcd", ignore_errors=True)

    @property
    def ca(self) -> Path:
        """File with the certificate every server here is to be checked against."""
        return self.folder / "ca.pem"

    def token(self, user: str) -> str:
        """The bearer token of one of USERS."""
        return f"token-of-{user}"

    def api(self, user: str = "admin") -> Api:
        """Plain JSON calls as one of USERS."""
        if user not in self._apis:
            self._apis[user] = self.api_with(self.token(user))
        return self._apis[user]

    def api_with(self, token: str) -> Api:
        """Plain JSON calls with any token, such as a service account's; the caller closes it."""
        return Api(self.url, str(self.ca), token)

    def client(self, user: str = "admin") -> "ApiClient":
        """A client of the official package, as one of USERS; the caller closes it."""
        from kubernetes.config import new_client_from_config

        return new_client_from_config(str(self.kubeconfig(user)))

    def kubeconfig(self, user: str = "admin", groups: Sequence[str] = ()) -> Path:
        """A file for one of USERS by token, or for any other user and its groups by certificate."""
        path = self.folder / f"kubeconfig-{user.replace(':', '-')}"
        cluster = {"server": self.url, "certificate-authority": str(self.ca)}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "tests", "cluster": cluster}],
            "users": [{"name": user, "user": self._credentials(user, groups)}],
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": user, "namespace": "default"}}],
            "current-context": "tests",
        }
        path.write_text(json.dumps(config), encoding="utf-8")
        return path

    def service_account_token(self, namespace: str, name: str) -> str:
        """A token as a pod would carry it, of a service account that exists."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        return str(self.api().create(path, request)["status"]["token"])

    def grant(self, user: str, rules: Sequence[Mapping[str, Sequence[str]]]) -> None:
        """Let a user do in every namespace what the rules of a ClusterRole say."""
        group, base = "rbac.authorization.k8s.io", "/apis/rbac.authorization.k8s.io/v1"
        role = {"metadata": {"generateName": f"test-{user}-"}, "rules": rules}
        name = self.api().create(f"{base}/clusterroles", role)["metadata"]["name"]
        binding = {
            "metadata": {"name": name},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name},
            "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
        }
        self.api().create(f"{base}/clusterrolebindings", binding)

    def start_api_server(self) -> None:
        """Start kube-apiserver and wait until it is ready; its port and data are those it had before."""
        daemon = self._run("kube-apiserver", self._api_server_flags())
        self._await(daemon, f"{self.url}/readyz")

    def stop_api_server(self, crash: bool = False) -> None:
        """End kube-apiserver, in good order or not; etcd keeps the data."""
        daemon = self.daemons.pop("kube-apiserver")
        daemon.kill() if crash else daemon.stop()

    def forget_history(self) -> None:
        """Have etcd forget all but the present and restart kube-apiserver: old watches end, and resuming one is 410."""
        revision = self.api().get("/api/v1/namespaces", limit="1")["metadata"]["resourceVersion"]
        self.stop_api_server()
        body = json.dumps({"revision": revision, "physical": True})
        answer = urllib3.request("POST", f"{self._etcd}/v3/kv/compaction", body=body)
        if answer.status != 200:
            raise Refused(answer.status, "compaction", answer.data.decode())
        self.start_api_server()

    def start_scheduler(
        self, config: Mapping[str, Any] | None = None, flags: Sequence[str] = (), name: str = "kube-scheduler"
    ) -> Daemon:
        """Start kube-scheduler as the user it is in a cluster, and wait until it is ready.

        config: fields of KubeSchedulerConfiguration beside the connection, such as `profiles` and `extenders`.
        name: of this one among several.
        """
        kubeconfig = self.kubeconfig("system:kube-scheduler")
        connection = {"kubeconfig": str(kubeconfig), "qps": 1000, "burst": 1000}
        whole = {**_SCHEDULER_CONFIG, "leaderElection": {"leaderElect": False}, **(config or {})}
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps({**whole, "clientConnection": connection}), encoding="utf-8")
        port = self._port()
        own = [f"--config={path}", f"--secure-port={port}", "--bind-address=127.0.0.1", *self._tls()]
        own += ["--authentication-skip-lookup=true", f"--authorization-always-allow-paths={_PUBLIC}"]
        daemon = self._run(name, [*own, *flags], "kube-scheduler")
        self._await(daemon, f"https://127.0.0.1:{port}/readyz")
        return daemon

    def start_scheduler_from(self, config: Path, name: str = "kube-scheduler-as-written") -> Daemon:
        """Start kube-scheduler with a file as it is, which says itself how to reach the API server."""
        port = self._port()
        own = [f"--config={config}", f"--secure-port={port}", "--bind-address=127.0.0.1", *self._tls()]
        own += ["--authentication-skip-lookup=true", f"--authorization-always-allow-paths={_PUBLIC}"]
        daemon = self._run(name, own, "kube-scheduler")
        self._await(daemon, f"https://127.0.0.1:{port}/readyz")
        return daemon

    def start_kwok(self) -> Daemon:
        """Start kwok, the kubelet of every node annotated `kwok.x-k8s.io/node: fake`, and wait until it is ready."""
        port = self._port()
        flags = [
            f"--kubeconfig={self.kubeconfig('kwok', ('system:masters',))}",
            "--manage-all-nodes=false",
            "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
            f"--config={MODULES}/kwok/stages.yaml",
            f"--server-address=127.0.0.1:{port}",
        ]
        daemon = self._run("kwok", flags)
        self._await(daemon, f"http://127.0.0.1:{port}/healthz")
        return daemon

    def stop_daemon(self, daemon: Daemon) -> None:
        """End a scheduler or kwok."""
        self.daemons.pop(daemon.name).stop()

    def tails(self) -> str:
        """The ends of all logs."""
        logs = sorted(self.folder.glob("*.log"))
        words = ((log, log.read_text(encoding="utf-8", errors="replace").splitlines()) for log in logs)
        return "\n".join(f"--- {log}\n" + "\n".join(lines[-25:]) for log, lines in words)

    def _write_secrets(self) -> None:
        server = self.authority.server()
        files = {"ca.pem": self.authority.pem, "server.pem": server.certificate, "server.key": server.key}
        rows = (f'{self.token(user)},{user},{user},"{",".join(groups)}"\n' for user, groups in USERS.items())
        files |= {"accounts.key": signing_key(), "tokens.csv": "".join(rows).encode()}
        for name, data in files.items():
            (self.folder / name).write_bytes(data)

    def _credentials(self, user: str, groups: Sequence[str]) -> dict[str, str]:
        if user in USERS:
            return {"token": self.token(user)}
        identity = self.authority.client(user, groups)
        files = {"client-certificate": identity.certificate, "client-key": identity.key}
        for name, data in files.items():
            (self.folder / f"{user.replace(':', '-')}.{name}").write_bytes(data)
        return {name: str(self.folder / f"{user.replace(':', '-')}.{name}") for name in files}

    def _port(self) -> Port:
        port = claim_port()
        self._ports.append(port)
        return port

    def _tls(self) -> list[str]:
        return [f"--tls-cert-file={self.folder}/server.pem", f"--tls-private-key-file={self.folder}/server.key"]

    def _start_etcd(self) -> None:
        peers = f"http://127.0.0.1:{self._port()}"
        flags = [f"--data-dir={self.folder}/etcd", "--unsafe-no-fsync", "--log-level=warn"]
        flags += [f"--listen-client-urls={self._etcd}", f"--advertise-client-urls={self._etcd}"]
        flags += [f"--listen-peer-urls={peers}", f"--initial-advertise-peer-urls={peers}"]
        flags += [f"--initial-cluster=default={peers}", "--quota-backend-bytes=4294967296"]
        self._run("etcd", flags)

    def _api_server_flags(self) -> list[str]:
        accounts = self.folder / "accounts.key"
        return [
            f"--etcd-servers={self._etcd}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self._secure}",
            *self._tls(),
            f"--client-ca-file={self.ca}",
            f"--token-auth-file={self.folder}/tokens.csv",
            "--authorization-mode=Node,RBAC",
            "--disable-admission-plugins=ServiceAccount,TaintNodesByCondition",
            f"--service-account-key-file={accounts}",
            f"--service-account-signing-key-file={accounts}",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--endpoint-reconciler-type=none",
            "--enable-priority-and-fairness=false",
            "--max-requests-inflight=0",
            "--max-mutating-requests-inflight=0",
            "--allow-privileged=true",
            "--shutdown-watch-termination-grace-period=1s",
            *self._flags,
        ]

    def _run(self, name: str, flags: Sequence[str], program: str = "") -> Daemon:
        env = {"HOME": str(self.folder)}
        self.daemons[name] = Daemon(name, [find(program or name), *flags], self.folder / f"{name}.log", env)
        return self.daemons[name]

    def _await(self, daemon: Daemon, url: str) -> None:
        """Wait until the server answers; raises TooLate with the end of its log."""
        headers = {"Authorization": f"Bearer {self.token('admin')}"}
        with urllib3.PoolManager(ca_certs=str(self.ca), retries=False, timeout=5.0) as pool:

            def answers() -> bool:
                try:
                    return pool.request("GET", url, headers=headers).status == 200
                except urllib3.exceptions.HTTPError:
                    return False

            try:
                eventually(lambda: answers() or not daemon.runs, f"{daemon.name} becomes ready", READY_S)
            except TooLate as late:
                raise TooLate(f"{late}\n{daemon.tail()}") from late
        if not daemon.runs:
            raise TooLate(f"{daemon.name} ended while starting:\n{daemon.tail()}")
