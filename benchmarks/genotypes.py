"""Genotypes out of updates: exactness and seconds, against unmixing by scikit-learn.

    make bench NAME=genotypes

Real people (Europeans of 1000 Genomes, common sites), a network of 256 neurons, one step. The peer
is the plain form of the Cocktail Party Attack on the same gradient: FastICA of scikit-learn on the
white mixtures, then rounding; it is given the same whitening. Sides run in turn in one process on
one thread. Writes benchmarks/results/genotypes.json.
"""

from __future__ import annotations

import json
import statistics
import time
import warnings
from pathlib import Path

import torch
from recording import record
from sklearn.decomposition import FastICA

from leaklab.assess import genotypes as scene
from leaklab.attacks import genotypes
from leaklab.attacks.genotypes import certificate, unmixing
from leaklab.attacks.genotypes.reading import read
from leaklab.runtime import generator, seed_all
from leaklab.updates import Recovered

RESULT = Path(__file__).parent / "results" / "genotypes.json"
PEER = "scikit-learn and rounding"
SNPS, SIZES, SEEDS, SINGLES = 5000, (16, 64, 128), (200, 201, 202), 100


def singles() -> dict[str, float]:
    """Patients alone in their update, at all 11,235 SNPs."""
    group = scene.cohort(SEEDS[0], scene.europeans().snps)
    net = scene.network(SEEDS[0], group.private.shape[1])
    views = [scene.seen(net, group, torch.tensor([k]), seed=k) for k in range(SINGLES)]
    begun = time.perf_counter()
    answers = [genotypes.single(net, view, encoding=group.encoding) for view in views]
    seconds = time.perf_counter() - begun
    right = [torch.equal(a.guess[0], x) for a, x in zip(answers, group.private, strict=False)]
    return {"patients": SINGLES, "exact": sum(right), "seconds_each": round(seconds / SINGLES, 4),
            "certified": sum(bool(a.certificate[0]) for a in answers)}


def plain(net, view, group) -> Recovered:
    """FastICA of scikit-learn, then rounding."""
    seen = read(net, view, group.encoding)
    white = unmixing.whiten(seen, group.frequencies)
    ica = FastICA(whiten=False, fun="logcosh", random_state=0, max_iter=200)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it did not converge is part of the result
        ica.fit(white.mixtures.T.numpy())
    rows = certificate.values(seen, torch.tensor(ica.components_) @ white.matrix)
    return Recovered(certificate.nearest(rows)[:, :-1].long())


def batch(size: int, seed: int) -> dict[str, tuple[float, float]]:
    """Share read whole and seconds, for each side, on one batch."""
    group, net = scene.cohort(seed, SNPS), scene.network(seed, SNPS)
    chosen, _ = scene.victims(size, group, seed)
    view = scene.seen(net, group, chosen, seed=seed)
    figures = {}
    for name, attack in (
            ("leaklab", lambda: genotypes.recover(
                net, view, frequencies=group.frequencies, encoding=group.encoding,
                generator=generator(seed, "attack"))),
            (PEER, lambda: plain(net, view, group))):
        begun = time.perf_counter()
        answer = attack()
        seconds = time.perf_counter() - begun
        figures[name] = float(scene.found(answer, group.private[chosen]).double().mean()), seconds
    return figures


def ratio(sides: dict[str, dict[str, float]]) -> dict[str, float]:
    """The peer's seconds over ours, and the genomes that ours reads beyond the peer's, as a share.

    The peer stops after one rounding, so its seconds buy fewer genomes.
    """
    return {"seconds": round(sides[PEER]["seconds"] / sides["leaklab"]["seconds"], 2),
            "exact": round(sides["leaklab"]["exact"] - sides[PEER]["exact"], 3)}


def main() -> None:
    """Measure, print and record."""
    seed_all(0)
    runs = {size: [batch(size, seed) for seed in SEEDS] for size in SIZES}
    figures = {f"{size} patients": {
        name: {"exact": round(statistics.mean(run[name][0] for run in some), 3),
               "seconds": round(statistics.median(run[name][1] for run in some), 2)}
        for name in some[0]} for size, some in runs.items()}
    result = {
        "what": "genotypes read whole from one update of a batch",
        "sizes": {"snps": SNPS, "neurons": scene.WIDTH, "batches": len(SEEDS)},
        "single": singles(), "figures": figures,
        "peer": f"{PEER}: FastICA of scikit-learn on the same white mixtures, then rounding",
        "ratio": {case: ratio(sides) for case, sides in figures.items()},
    }
    record(RESULT, result)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
