"""Five hospitals as separate processes: ``python deploy/federation.py``, or ``make federation``.

A SuperLink and a SuperNode for each hospital of chapter 1, over TLS, each node with a registered
key; some rounds of training; a capture of every message; then everything is taken down, also on
Ctrl-C. Keys, certificates, records and logs lie in a temporary folder that is removed.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import deployment
from deployment import ROOT, Deployment, DeploymentError
from leaklab.data.download import DataUnavailable
from leaklab.federation import Hospital
from leaklab.flower import capture
from leaklab.flower.app import chapter_hospitals, save_hospital

STARTED = time.monotonic()


def say(text: str) -> None:
    """Print a line with the seconds since the start."""
    print(f"{time.monotonic() - STARTED:5.0f} s  {text}", flush=True)


def admit(deployed: Deployment, hospital: Hospital) -> None:
    """Give a hospital its records and its key, and start its SuperNode."""
    records = deployed.folder / f"{hospital.name}.npz"
    save_hospital(hospital, records)
    if deployed.mode == "tls":
        deployment.register(deployed, hospital.name)
    deployment.start_supernode(deployed, hospital.name, records)


def retell(line: str) -> None:
    """Pass on what shows progress in the log of a run, and who was left out."""
    text = line.rpartition(":  ")[2].strip()
    if text.startswith(("[ROUND", "configure_train", "aggregate_train")) or "left out" in text:
        say(f"    {text}")


def interrupt(*_) -> None:
    """Take all down, and let no second signal stop that halfway."""
    for ending in deployment.ENDINGS:
        signal.signal(ending, signal.SIG_IGN)
    raise KeyboardInterrupt


def federate(folder: Path, target: Path, *, hospitals: int, rounds: int, size: int,
             mode: str) -> int:
    """Bring the federation up, train, capture into ``target``; return the number of updates."""
    members = chapter_hospitals(0, size)[:hospitals]
    with deployment.superlink(folder, mode) as deployed:
        say(f"SuperLink listens on {deployment.HOST}:{deployed.port}, "
            + ("TLS and registered keys" if mode == "tls" else "plain HTTP"))
        for hospital in members:
            admit(deployed, hospital)
            say(f"SuperNode of {hospital.name} started, {len(hospital)} records")
        deployment.wait_online(deployed, len(members))
        say(f"{len(members)} SuperNodes online; training {rounds} rounds")
        deployment.run(deployed, {
            "num-server-rounds": rounds, "num-hospitals": len(members),
            "min-replies": len(members), "image-size": size, "capture-dir": str(target)}, retell)
    say("all processes ended")
    return len(capture.replay(target))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--hospitals", type=int, default=5, choices=range(2, 6), metavar="2-5")
    parser.add_argument("--rounds", type=int, default=2, choices=range(1, 101), metavar="1-100")
    parser.add_argument("--size", type=int, default=28, help="pixels a side of an image")
    parser.add_argument("--insecure", action="store_true", help="plain HTTP, no keys")
    parser.add_argument("--capture", type=Path, metavar="DIR", help="where the capture goes "
                        "(default: a new folder in captures/)")
    options = parser.parse_args()
    stamp = datetime.now().strftime("%Y-%m-%d_%H%M%S")
    target = (options.capture or ROOT / "captures" / stamp).resolve()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        parser.error(f"--capture: {target} exists, expected a new or empty folder")
    for ending in deployment.ENDINGS:  # each takes all down, from any shell
        signal.signal(ending, interrupt)
    try:
        with tempfile.TemporaryDirectory(prefix="leaklab-federation-") as folder:
            number = federate(Path(folder), target, hospitals=options.hospitals,
                              rounds=options.rounds, size=options.size,
                              mode="plain" if options.insecure else "tls")
    except (DeploymentError, DataUnavailable) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("\ninterrupted: all processes ended")
    say(f"{number} updates captured: {target}")
    print("Read them with leaklab.flower.replay(folder).")


if __name__ == "__main__":
    main()
