"""The federation of lab 11 with noise, run once more for an impact assessment."""

from __future__ import annotations

import numpy as np

from leaklab import federation, runtime, stack
from leaklab.assess import rounds as experiment
from leaklab.attacks.membership import rounds as over_rounds
from leaklab.attacks.membership import updates as membership
from leaklab.data import cleveland, heart
from leaklab.defences import record_level
from leaklab.updates import Knowledge, LocalTraining

HOSPITALS, ROUNDS, FPR = 5, 10, 0.01
TRAINING = LocalTraining(0.5, local_steps=3)


def named_under_noise(seed: int, mu: float) -> float:
    """The share of members whom the server names at a false positive rate of 1 %, ten rounds.

    Each hospital clips every record's gradient to norm 1 and adds noise, so that ten rounds are
    ``mu``-GDP for one record more or fewer; the server knows the defence. As part ``privacy`` of
    study 11, which has the controls.
    """
    deal = experiment.deal(cleveland.load(), HOSPITALS, np.random.default_rng(seed),
                           prepare=heart.impute_and_scale)
    pool, public = [(x.double(), y) for x, y in (deal.pool, deal.public)]
    owners, releases = deal.owners[0], ROUNDS * TRAINING.local_steps
    defence = record_level.RecordLevel(1.0, record_level.noise_for(mu, releases))
    clinics = [record_level.PrivateHospital(
        f"Hospital {k + 1}", *(part[owners == k] for part in pool), defence)
        for k in range(HOSPITALS)]
    start = stack.new_stack(
        lambda draw: experiment.two_layers(draw, num_features=pool[0].shape[1]).double(), 2,
        runtime.generator(seed, "weights"))
    net = start.model
    net.load_state_dict(stack.state_of(start, 0))
    steps = federation.fed_avg(net, clinics, TRAINING, rounds=ROUNDS, seed=seed)
    known = Knowledge(training=TRAINING, defence=defence)
    clip = defence.clip
    noise = defence.noise_in_update(int((owners == 0).sum()), TRAINING.local_steps)
    found = over_rounds.update_scores(
        net, [federation.server_views(step, known) for step in steps], pool, public, {
            "score": lambda g, u, p: membership.whitened(clip(g), u, clip(p), noise=noise),
            "length": lambda g, u, p: membership.whitened_length(clip(g), clip(p),
                                                                 noise=noise)[None]})
    joined = over_rounds.end_to_end(found["score"], found["length"])
    return experiment.of_hospitals(experiment.tpr_at(FPR), joined[-1], owners)
