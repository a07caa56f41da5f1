"""Start, run and stop a real federation on this machine: one SuperLink and its SuperNodes.

Every process listens on the loopback address only, runs in the deployment's own folder, writes its
own log there, and carries a mark by which it is found and ended, wherever its parents went.

The SuperLink takes commands from whoever reaches its port, keys or not: any account of this machine
could start a run, and so run code as the user of the deployment, while it is up.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from certificates import make_certificates, make_node_key
from leaklab.flower import HYGIENE

ROOT = Path(__file__).resolve().parents[1]
APP = ROOT / "deploy/app"
BIN = Path(sys.executable).parent
HOST = "127.0.0.1"
CONNECTION = "lab"
MARK = "LEAKLAB_FEDERATION"
"""An environment variable that every process of one deployment carries, so that all are found."""

FINISHED = "Strategy execution finished"  # Flower's line at the end of a run
START = 60.0  # seconds for a SuperLink to listen, and for the nodes to come online
RUN = 600.0  # seconds for a whole run
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class DeploymentError(RuntimeError):
    """A deployment that did not come up or did not finish; the message ends with its log."""


@dataclass(frozen=True)
class Deployment:
    """A running SuperLink: where it listens, its folder, its environment.

    mode
        ``"tls"``: over TLS, each node with a registered key; ``"plain"``: HTTP, any node;
        ``"simulation"``: no nodes, clients run on Flower's simulation engine (Ray).
    """

    folder: Path
    port: int
    mode: str
    environment: dict[str, str]

    def log(self, name: str) -> Path:
        """The file that process ``name`` writes to."""
        return self.folder / f"{name}.log"


# --- Start ------------------------------------------------------------------------------------


@contextmanager
def superlink(folder: Path, mode: str = "tls") -> Iterator[Deployment]:
    """Inside, a SuperLink runs; after, it and every process that was started beside it is gone."""
    folder.mkdir(parents=True, exist_ok=True)
    # not in the folder: Ray makes sockets there, whose paths may have about 100 characters
    with tempfile.TemporaryDirectory(prefix="fl-") as temporary:
        environment = {**os.environ, **HYGIENE, "FLWR_HOME": str(folder / "flwr"),
                       "TMPDIR": temporary, "OMP_NUM_THREADS": "1",
                       "PYTHONUNBUFFERED": "1",  # a log is read while it is written
                       MARK: uuid.uuid4().hex,
                       "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"}  # of children
        deployment = Deployment(folder, free_port(), mode, environment)
        if mode == "tls":
            make_certificates(folder, HOST)
        write_connection(deployment)
        try:
            start_superlink(deployment)
            yield deployment
        finally:
            end(environment[MARK])


def start_superlink(deployment: Deployment) -> subprocess.Popen:
    """Start the SuperLink of ``deployment`` and wait until it listens."""
    security = {"tls": ["--ssl-ca-certfile", "ca.crt", "--ssl-certfile", "server.pem",
                        "--ssl-keyfile", "server.key", "--enable-supernode-auth"],
                "plain": ["--insecure"], "simulation": ["--insecure", "--simulation"]}
    process = spawn(deployment, "superlink", "flower-superlink", *security[deployment.mode],
                    "--host", HOST, "--port", str(deployment.port), "--database", "state.db")
    deadline = time.monotonic() + START
    while not listens(deployment.port) and process.poll() is None:
        if time.monotonic() > deadline:
            break
        time.sleep(0.2)
    time.sleep(1)  # if the port was somebody else's, the SuperLink ends now
    if process.poll() is not None or not listens(deployment.port):
        raise DeploymentError("the SuperLink does not listen; its log ends with\n"
                              + tail(deployment.log("superlink")))
    return process


def start_supernode(
    deployment: Deployment, name: str, records: Path, *, port: int | None = None,
) -> subprocess.Popen:
    """Start the SuperNode of hospital ``name``; ``port`` reaches the SuperLink another way."""
    secure = ["--root-certificates", "ca.crt", "--auth-supernode-private-key", f"{name}.key"]
    if '"' in str(records):
        raise ValueError(f"records: {records} given, expected a path without quotation marks")
    return spawn(deployment, f"supernode-{name}", "flower-supernode",
                 *(secure if deployment.mode == "tls" else ["--insecure"]),
                 "--superlink", f"{HOST}:{port or deployment.port}", "--host", HOST,
                 "--port", str(free_port()),
                 "--node-config", f"data-path={json.dumps(str(records))}")


def register(deployment: Deployment, name: str) -> None:
    """Make a key for hospital ``name`` and tell the SuperLink its public half."""
    make_node_key(deployment.folder / f"{name}.key")
    command(deployment, "flwr", "supernode", "register", f"{name}.key.pub", CONNECTION,
            "--name", name)


def spawn(deployment: Deployment, name: str, program: str, *arguments: str) -> subprocess.Popen:
    """Start a program in a session of its own, so that a Ctrl-C here does not reach it first."""
    with open(deployment.log(name), "ab") as log:
        return subprocess.Popen([BIN / program, *arguments], cwd=deployment.folder, stdout=log,
                                stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                env=deployment.environment, start_new_session=True)


def write_connection(deployment: Deployment) -> None:
    """Tell the ``flwr`` command how to reach the SuperLink."""
    home = deployment.folder / "flwr"
    home.mkdir(exist_ok=True)
    authority = json.dumps(str(deployment.folder / "ca.crt"))
    secure = f"root-certificates = {authority}" if deployment.mode == "tls" else "insecure = true"
    (home / "config.toml").write_text(
        f'[superlink]\ndefault = "{CONNECTION}"\n\n[superlink.{CONNECTION}]\n'
        f'address = "{HOST}:{deployment.port}"\n{secure}\n')


# --- Run --------------------------------------------------------------------------------------


def wait_online(deployment: Deployment, number: int) -> None:
    """Wait until ``number`` SuperNodes are online."""
    deadline = time.monotonic() + START
    while (online := count_online(deployment)) < number:
        if time.monotonic() > deadline:
            logs = (f"{log.stem} ends with\n{tail(log, 5)}"
                    for log in sorted(deployment.folder.glob("supernode-*.log")))
            raise DeploymentError("\n".join([
                f"{online} of {number} SuperNodes online after {START:g} s", *logs]))
        time.sleep(0.5)


def count_online(deployment: Deployment) -> int:
    """How many SuperNodes the SuperLink counts as online."""
    listed = command(deployment, "flwr", "supernode", "list", CONNECTION, "--format", "json")
    nodes = json.loads(listed[listed.index("{"):]).get("nodes", [])
    return sum(node.get("status") == "online" for node in nodes)


def command(deployment: Deployment, program: str, *arguments: str) -> str:
    """Run a short command to its end and return what it printed.

    Raises :class:`DeploymentError` with that if it fails.
    """
    asked = " ".join((program, *arguments))
    try:
        done = subprocess.run([BIN / program, *arguments], cwd=deployment.folder, text=True,
                              env=deployment.environment, capture_output=True, timeout=START)
    except subprocess.TimeoutExpired:
        raise DeploymentError(f"{asked} took longer than {START:g} s") from None
    if done.returncode:
        raise DeploymentError(f"{asked} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def run(deployment: Deployment, settings: dict[str, object],
        tell: Callable[[str], object] = lambda line: None) -> None:
    """Run the app with ``settings`` and wait until it has ended; ``tell`` gets its log lines.

    In a simulation there are ``num-hospitals`` nodes.

    Raises :class:`DeploymentError` with the end of the log where the run fails.
    """
    texts = (f"{key}={json.dumps(value)}" for key, value in settings.items())
    nodes = ["--federation-config", f"num-supernodes={settings['num-hospitals']}"]
    process = spawn(deployment, "run", "flwr", "run", str(APP), CONNECTION, "--stream",
                    "--run-config", " ".join(texts),
                    *(nodes if deployment.mode == "simulation" else []))
    deadline = time.monotonic() + RUN
    with open(deployment.log("run"), encoding="utf-8", errors="replace") as log:
        while process.poll() is None and time.monotonic() < deadline:
            for line in log:
                tell(line)
            time.sleep(0.2)
        for line in log:
            tell(line)
    text = deployment.log("run").read_text(encoding="utf-8", errors="replace")
    if process.poll() != 0 or FINISHED not in text:
        ended = "did not finish" if process.poll() is not None else f"took longer than {RUN:g} s"
        left_out = [line for line in text.splitlines() if "left out" in line]
        raise DeploymentError("\n".join([f"the run {ended}", *left_out, "its log ends with",
                                         tail(deployment.log("run"))]))


# --- Stop -------------------------------------------------------------------------------------


def marked(mark: str) -> list[psutil.Process]:
    """Every process of this user that carries ``mark``, wherever its parents went."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark:
                found.append(process)
        except (psutil.Error, OSError):
            continue  # gone by now, or somebody else's
    return found


def end(mark: str, times: int = 5) -> None:
    """End every process that carries ``mark``; nothing interrupts it.

    Looks again after each pass, for what was started meanwhile. Raises :class:`DeploymentError`
    that names what is left in the end.
    """
    kept = {ending: signal.signal(ending, signal.SIG_IGN) for ending in ENDINGS}
    try:
        for _ in range(times):
            if not (left := marked(mark)):
                return
            stop(left)
        if left := marked(mark):
            raise DeploymentError(f"still running: {[process.pid for process in left]}")
    finally:
        for ending, handler in kept.items():
            signal.signal(ending, handler)


def stop(processes: Sequence[psutil.Process], grace: float = 5.0) -> None:
    """Ask processes to end, then end those that have not within ``grace`` seconds."""
    for ask in (psutil.Process.terminate, psutil.Process.kill):
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                ask(process)
        _, processes = psutil.wait_procs(processes, timeout=grace)


# --- Small things -----------------------------------------------------------------------------


def free_port() -> int:
    """A port of this machine that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def listens(port: int) -> bool:
    """Whether something on this machine takes connections at ``port``."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log."""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
