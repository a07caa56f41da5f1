"""Flower as it is deployed: processes, sockets, certificates and keys, on the loopback address.

Two nodes and one round here; what takes minutes carries the marker ``deployment`` and runs with
``make test-deployment``.
"""

import importlib.util
import os
import shutil
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

if importlib.util.find_spec("flwr") is None or importlib.util.find_spec("psutil") is None:
    pytest.skip("Flower is not installed: pip install leaklab[deploy]", allow_module_level=True)
sys.path.insert(0, str(Path(__file__).parents[1] / "deploy"))

import psutil

import deployment
import records
from leaklab.federation import Hospital
from leaklab.flower import HYGIENE, app, capture, replay
from leaklab.flower.local_grid import LocalGrid
from leaklab.flower.wiretap import WireTap
from leaklab.runtime import generator
from leaklab.updates import LocalTraining, Update
from tee import Line, listened

SIZE = 16
NAMES = ("Aster", "Birch")
TRAINING = LocalTraining(0.1, local_steps=20, batch_size=32)
FIXTURE = Path(__file__).parent / "captures/tls_two_hospitals"


def hospital(name: str) -> Hospital:
    pictures = torch.rand(40, 1, SIZE, SIZE, generator=generator("pictures", name))
    return Hospital(name, pictures, torch.arange(40) % 2)


def settings(target: Path, **others) -> dict:
    return {"num-server-rounds": 1, "num-hospitals": 2, "min-replies": 2, "image-size": SIZE,
            "capture-dir": str(target)} | others


def in_process(folder: Path) -> list[capture.WireMessage]:
    """The messages of the same federation through a ``LocalGrid``."""
    configs = [{"data-path": str(folder / f"{name}.npz")} for name in NAMES]
    tap = WireTap(LocalGrid(app.client_app, configs))
    app.federate(tap, TRAINING, rounds=1, seed=0, size=SIZE, num_hospitals=2)
    return tap.log


def by_hospital(messages) -> dict[str, Update]:
    return {update.hospital: update for update in capture.updates(messages)}


def losses(messages) -> dict[str, float]:
    return {str(m.plain["sender"]["hospital"]): float(m.plain["metrics"]["loss"])
            for m in messages if m.way == "up"}


@dataclass(frozen=True)
class Seen:
    """What one small deployment left: its capture, the line to one node, its logs."""

    tls: bool
    updates: dict[str, Update]
    local: dict[str, Update]
    losses: dict[str, float]
    local_losses: dict[str, float]
    line: Line
    stranger: str
    online: int
    left: list


@pytest.fixture(scope="module", params=["plain", "tls"])
def seen(request, tmp_path_factory) -> Seen:
    """Two SuperNodes, one on a line that is listened to; with TLS, also one with a strange key."""
    tls = request.param == "tls"
    folder, target = tmp_path_factory.mktemp(request.param), tmp_path_factory.mktemp("capture")
    with deployment.superlink(folder, request.param) as deployed, listened(deployed.port) as line:
        for name in NAMES:
            app.save_hospital(hospital(name), folder / f"{name}.npz")
            if tls:
                deployment.register(deployed, name)
            deployment.start_supernode(deployed, name, folder / f"{name}.npz",
                                       port=line.port if name == "Aster" else None)
        if tls:
            deployment.make_node_key(folder / "stranger.key")
            deployment.start_supernode(deployed, "stranger", folder / "Aster.npz")
        deployment.wait_online(deployed, 2)
        deployment.run(deployed, settings(target))
        online = deployment.count_online(deployed)
        log = deployed.log("supernode-stranger")
        stranger = log.read_text() if tls else ""
    left = deployment.marked(deployed.environment[deployment.MARK])
    local = in_process(folder)
    return Seen(tls, by_hospital(capture.read(target)), by_hospital(local),
                losses(capture.read(target)), losses(local), line, stranger, online, left)


def test_the_deployment_computes_what_the_local_grid_computes(seen):
    assert seen.updates.keys() == seen.local.keys() == set(NAMES)
    for name, update in seen.updates.items():
        assert update.num_examples == 40
        for tensor in update.after:
            torch.testing.assert_close(update.after[tensor], seen.local[name].after[tensor],
                                       rtol=1e-5, atol=1e-7)


def test_round_1_metrics_agree_with_the_local_grid(seen):
    assert seen.losses == pytest.approx(seen.local_losses, rel=1e-5)
    assert len(seen.losses) == 2


def test_the_line_carries_the_update_in_the_clear_and_under_tls_does_not(seen):
    weights = seen.updates["Aster"].after["0.weight"].numpy().tobytes()
    assert seen.line.heard(weights) is not seen.tls
    elsewhere = seen.updates["Birch"].after["0.weight"].numpy().tobytes()
    assert not seen.line.heard(elsewhere), "that node did not use this line"


def test_the_line_under_tls_was_used(seen):
    assert sum(map(len, seen.line.buffers)) > seen.updates["Aster"].num_bytes


def test_a_node_with_a_key_nobody_registered_is_kept_out_and_says_so(seen):
    assert seen.online == len(seen.updates) == 2
    if seen.tls:  # without it nodes have no keys, and no stranger was started
        assert "ref-exit-codes/305" in seen.stranger, "Flower's code for: could not connect"


def test_nothing_is_left_running(seen):
    assert seen.left == []


# --- The guide --------------------------------------------------------------------------------


def test_the_guide_keeps_flower_quiet_as_the_library_does():
    guide = (deployment.ROOT / "deploy/README.md").read_text()
    named = dict(word.split("=") for line in guide.splitlines() if line.startswith("export FLWR_")
                 or line.startswith("export RAY_") for word in line.split()[1:])
    assert named == HYGIENE


def test_the_guides_certificates_are_made_once_and_kept(tmp_path):
    deployment.make_certificates(tmp_path, "127.0.0.1", ("localhost", "fl.example.org"))
    kept = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(kept) == {"ca.crt", "server.pem", "server.key"}
    assert (tmp_path / "server.key").stat().st_mode & 0o077 == 0
    with pytest.raises(FileExistsError):
        deployment.make_certificates(tmp_path, "127.0.0.1")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == kept
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
        tmp_path / "server.pem", tmp_path / "server.key")


def test_the_records_for_a_class_are_hospitals_with_names_of_their_own(tmp_path):
    members = [app.load_hospital(path) for path in records.write_records(7, tmp_path)]
    assert len({member.name for member in members}) == 7
    assert sum(map(len, members)) == 7 * records.RECORDS
    assert members[0].inputs.shape[1:] == (1, 28, 28)
    with pytest.raises(FileExistsError, match="hospital_01"):
        records.write_records(2, tmp_path)


def test_a_path_that_flower_would_cut_is_refused(tmp_path):
    plain = deployment.Deployment(tmp_path, 1, "plain", {})
    with pytest.raises(ValueError, match=r"records: .* expected a path without quotation marks"):
        deployment.start_supernode(plain, "A", tmp_path / 'a"b.npz')


# --- A capture of a real deployment, kept ------------------------------------------------------


def test_the_kept_capture_of_a_tls_deployment_replays_into_what_the_hospitals_sent():
    replayed = replay(FIXTURE)
    assert [(u.round, u.num_examples) for u in replayed] == [(1, 40), (1, 40)]
    model = app.initial_model(0, SIZE)
    for update in replayed:
        sent = hospital(update.hospital).train(
            model, TRAINING, round=1, generator=generator(0, 1, update.hospital))
        for tensor in sent.after:
            torch.testing.assert_close(update.before[tensor], sent.before[tensor], rtol=0, atol=0)
            # another processor may round the training otherwise
            torch.testing.assert_close(update.after[tensor], sent.after[tensor],
                                       rtol=1e-4, atol=1e-5)


# --- Minutes, not seconds: make test-deployment ------------------------------------------------


def start_two(deployed, folder, **ports) -> dict[str, subprocess.Popen]:
    nodes = {}
    for name in NAMES:
        app.save_hospital(hospital(name), folder / f"{name}.npz")
        deployment.register(deployed, name)
        nodes[name] = deployment.start_supernode(deployed, name, folder / f"{name}.npz", **ports)
    deployment.wait_online(deployed, len(nodes))
    return nodes


class Killer:
    """Ends a process, and what it started, when a line of the run's log holds ``word``."""

    def __init__(self, word: str, process: subprocess.Popen):
        self.word, self.process = word, psutil.Process(process.pid)

    def __call__(self, line: str) -> None:
        if self.word in line and self.process.is_running():
            for one in (*self.process.children(recursive=True), self.process):
                one.kill()
            self.process.wait()


@pytest.mark.deployment
def test_a_node_that_dies_in_a_round_is_left_out_and_training_goes_on(tmp_path):
    with deployment.superlink(tmp_path / "link") as deployed:
        nodes = start_two(deployed, tmp_path)
        lines = []
        kill = Killer("configure_train", nodes["Birch"])
        deployment.run(deployed, settings(tmp_path / "capture", **{
            "num-server-rounds": 2, "min-replies": 1, "round-timeout": 30.0}),
                       lambda line: (lines.append(line), kill(line)))
    found = [(update.round, update.hospital) for update in replay(tmp_path / "capture")]
    assert found == [(1, "Aster"), (2, "Aster")]
    assert any("is left out: no answer in time" in line for line in lines)


@pytest.mark.deployment
def test_a_superlink_that_dies_ends_the_run_with_an_error_and_serves_again(tmp_path):
    with deployment.superlink(tmp_path / "link") as deployed:
        start_two(deployed, tmp_path)
        (link,) = [p for p in deployment.marked(deployed.environment[deployment.MARK])
                   if "flower-superlink" in " ".join(p.cmdline())]
        with pytest.raises(deployment.DeploymentError, match="the run did not finish"):
            deployment.run(deployed, settings(tmp_path / "lost"),
                           Killer("configure_train", link))
        deployment.start_superlink(deployed)
        deployment.wait_online(deployed, 2)
        deployment.run(deployed, settings(tmp_path / "capture"))
    assert len(replay(tmp_path / "capture")) == 2


@pytest.mark.deployment
@pytest.mark.parametrize("end", ["by itself", "Ctrl-C", "Ctrl-C twice", "SIGHUP"])
def test_make_federation_trains_captures_and_leaves_nothing_behind(end, tmp_path):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    command = [sys.executable, str(deployment.ROOT / "deploy/federation.py"), "--size", "16",
               "--capture", str(tmp_path / "capture")]
    started = time.monotonic()
    process = subprocess.Popen(command, env={**os.environ, "TMPDIR": str(temporary)}, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    said = ""
    for line in process.stdout:
        said += line
        if end != "by itself" and "configure_train" in line:
            process.send_signal(signal.SIGHUP if end == "SIGHUP" else signal.SIGINT)
            if end == "Ctrl-C twice":
                time.sleep(0.7)
                process.send_signal(signal.SIGINT)
    process.wait(timeout=60)
    if end == "by itself":
        assert process.returncode == 0 and "10 updates captured" in said, said
        assert time.monotonic() - started < 240
        agrees_with_the_local_grid(tmp_path / "capture", rounds=2)
    else:
        assert process.returncode != 0 and "all processes ended" in said, said
    assert not [p for p in psutil.process_iter() if str(temporary) in temporary_of(p)]
    assert list(temporary.iterdir()) == []


def temporary_of(process: psutil.Process) -> str:
    """The folder for temporary files that a process was given; every one of them has its own."""
    try:
        return process.environ().get("TMPDIR", "")
    except (psutil.Error, OSError):
        return ""


def agrees_with_the_local_grid(folder: Path, rounds: int) -> None:
    """Five hospitals of chapter 1: updates and losses of a capture against those in process."""
    tap = WireTap(LocalGrid(app.client_app, [{"partition-id": k} for k in range(5)]))
    app.federate(tap, TRAINING, rounds=rounds, seed=0, size=SIZE, num_hospitals=5)
    local = {(u.round, u.hospital): u for u in capture.updates(tap.log)}
    replayed = {(u.round, u.hospital): u for u in replay(folder)}
    assert replayed.keys() == local.keys() and len(local) == 5 * rounds
    for key, update in replayed.items():
        for tensor in update.after:
            torch.testing.assert_close(update.after[tensor], local[key].after[tensor],
                                       rtol=1e-5, atol=1e-7)
    assert losses(capture.read(folder)) == pytest.approx(losses(tap.log), rel=1e-5)


@pytest.mark.deployment
@pytest.mark.skipif(shutil.which("nginx") is None, reason="no nginx here: install it to check "
                                                          "the proxy of deploy/nginx.conf")
def test_through_nginx_hospitals_reach_the_fleet_and_nothing_else(tmp_path):
    link = tmp_path / "link"
    with deployment.superlink(link) as deployed:
        port = deployment.free_port()
        text = (deployment.ROOT / "deploy/nginx.conf").read_text()
        for example, here in (("listen 443", f"listen 127.0.0.1:{port}"),
                              ("/home/federation/fl", str(link)),
                              ("127.0.0.1:8000", f"127.0.0.1:{deployed.port}")):
            assert example in text
            text = text.replace(example, here)
        (tmp_path / "nginx.conf").write_text(text)
        proxy = subprocess.Popen(
            ["nginx", "-c", str(tmp_path / "nginx.conf"), "-e", str(tmp_path / "nginx.log"),
             "-g", f"pid {tmp_path / 'nginx.pid'}; daemon off;"])
        try:
            start_two(deployed, tmp_path, port=port)
            deployment.run(deployed, settings(tmp_path / "capture"))
            statuses = {path: status(port, path, link / "ca.crt")
                        for path in ("/health", "/v1/control/", "/v1/runtime/", "/",
                                     "/v1/fleet/../control/list-runs",
                                     "/v1/control/%2e%2e/%2e%2e/", "/v1/fleet")}
            through = deployment.Deployment(link, port, "tls", deployed.environment)
            deployment.write_connection(through)
            with pytest.raises(deployment.DeploymentError):
                deployment.run(through, settings(tmp_path / "refused"))
        finally:
            proxy.terminate()
            proxy.wait(timeout=10)
    assert len(replay(tmp_path / "capture")) == 2
    assert statuses.pop("/health") == 200
    assert set(statuses.values()) <= {301, 400, 403, 404}, statuses
    assert statuses["/v1/control/"] == statuses["/v1/fleet/../control/list-runs"] == 403
    assert not (tmp_path / "refused").exists()


def status(port: int, path: str, authority: Path) -> int:
    """What an HTTPS request without a key is answered."""
    context = ssl.create_default_context(cafile=str(authority))
    try:
        with urllib.request.urlopen(f"https://127.0.0.1:{port}{path}", context=context) as reply:
            return reply.status
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.deployment
@pytest.mark.skipif(importlib.util.find_spec("ray") is None,
                    reason="Ray is not installed: pip install leaklab[simulation]")
def test_the_same_app_runs_on_the_simulation_engine(tmp_path):
    target = tmp_path / "capture"
    with deployment.superlink(tmp_path / "link", "simulation") as deployed:
        deployment.run(deployed, settings(target, **{"num-hospitals": 5, "min-replies": 5}))
    assert deployment.marked(deployed.environment[deployment.MARK]) == []
    agrees_with_the_local_grid(target, rounds=1)
