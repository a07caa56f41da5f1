"""A secure sum of five hospitals and a million parameters, against CKKS and the plain mean.

    make bench NAME=secure_sum

Three sides form the same weighted mean of the same updates, on one thread, in turns within each
repeat:

    masks    `leaklab.defences.secure_aggregation.secure_sum`: all phases, of all hospitals and the
             server, one after another
    CKKS     TenSEAL: every hospital encrypts, the server adds, one key holder decrypts; the peer,
             with two primes, which is all that a sum needs
    plain    `leaklab.updates.weighted_mean`: what it costs to hide nothing

Seconds are by the clock of the wall. In a federation hospitals work side by side, so a round there
waits for one hospital's part and the server's, and for the network. The goal: masks under 2 s,
and within 2e-6 of the plain mean. Updates are noise of the size of a training step: nothing here
depends on what was learnt. CKKS takes longest, so it has fewer repeats.
"""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path

import torch
from recording import record

from leaklab.defences import homomorphic
from leaklab.defences.secure_aggregation import secure_sum
from leaklab.runtime import generator, seed_all
from leaklab.updates import State, Update, weighted_mean

RESULT = Path(__file__).parent / "results" / "secure_sum.json"
HOSPITALS, PARAMETERS, REPEATS, PEER_REPEATS = 5, 1_000_000, 7, 3
GOAL_SECONDS, GOAL_ERROR = 2.0, 2e-6


def updates() -> list[Update]:
    """One model of a layer, and what five hospitals of different sizes make of it."""
    source = generator("secure sum")
    before = {"weight": 0.05 * torch.randn(PARAMETERS, generator=source)}
    return [Update(before, {"weight": before["weight"]
                            + 1e-3 * torch.randn(PARAMETERS, generator=source)},
                   60 + 40 * k, 1, f"Hospital {k + 1}") for k in range(HOSPITALS)]


def by_masks(sent: list[Update]) -> State:
    """Ours."""
    return secure_sum(sent).after


def by_ckks(sent: list[Update]) -> State:
    """TenSEAL; keys are drawn anew, as ours are."""
    keys, total = homomorphic.draw_keys(), sum(update.num_examples for update in sent)
    parts = [homomorphic.encrypt(keys.public, update, update.num_examples / total)
             for update in sent]
    return homomorphic.decrypt(keys.secret, sent[0].before, homomorphic.add(keys.public, parts))


def plain(sent: list[Update]) -> State:
    """Nothing hidden."""
    return weighted_mean([u.after for u in sent], [u.num_examples for u in sent])


def seconds(side, sent: list[Update]) -> tuple[float, State]:
    """How long one side takes, and its answer."""
    begun = time.perf_counter()
    after = side(sent)
    return time.perf_counter() - begun, after


def main() -> None:
    """Measure, print and record."""
    seed_all(0)
    sent = updates()
    exact = plain(sent)["weight"]
    sides = {"masks": by_masks, "CKKS": by_ckks, "plain": plain}
    times: dict[str, list[float]] = {name: [] for name in sides}
    errors = dict.fromkeys(sides, 0.0)
    for repeat in range(REPEATS + 1):  # the first, to warm up, is not counted
        for name, side in sides.items():
            if name == "CKKS" and repeat > PEER_REPEATS:
                continue
            spent, after = seconds(side, sent)
            errors[name] = max(errors[name], float((after["weight"] - exact).abs().max()))
            times[name] += [spent] if repeat else []
    middle = {name: statistics.median(spent) for name, spent in times.items()}
    row = f"{HOSPITALS} hospitals, {PARAMETERS} parameters"
    result = {
        "what": "seconds to form the weighted mean of updates, by the clock of the wall",
        "sizes": {row: {name: {"repeats": len(spent)} for name, spent in times.items()}},
        "figures": {row: {name: {"seconds": round(middle[name], 4),
                                 "slowest": round(max(times[name]), 4),
                                 "error": float(f"{errors[name]:.2g}")} for name in sides}},
        "peer": "CKKS: TenSEAL, degree 8192, primes of 60 and 60 bits; plain: the weighted mean",
        "ratio": {row: {"CKKS / masks": round(middle["CKKS"] / middle["masks"], 1),
                        "masks / plain": round(middle["masks"] / middle["plain"], 1)}},
        "goal": {"seconds": GOAL_SECONDS, "error": GOAL_ERROR,
                 "met": middle["masks"] < GOAL_SECONDS and errors["masks"] < GOAL_ERROR},
    }
    print(json.dumps(result, indent=1))
    record(RESULT, result)


if __name__ == "__main__":
    main()
