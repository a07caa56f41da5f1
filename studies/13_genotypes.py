"""Study 13: genotypes read exactly out of the update of a risk model, and certified.

    single      one patient's update: ratio and rounding, by model, new and trained
    batch       one step on a batch, by batch size, width of the layer, number of SNPs, encoding,
                and method: neurons alone, differences of two, unmixing, all of them
    steps       several local steps on a batch of 16, by optimiser
    compressed  half precision, eight bits, the largest tenth; batch size known or not
    sum         eight hospitals behind secure aggregation, eight patients each
    hard        linked SNPs, families, patients of other ancestries, a trained model

The people are the Europeans of 1000 Genomes at 11,235 common sites that are nearly unlinked; for
"linked", array SNPs on 3 Mb of chromosome 20. A seed splits them into 200 public people, from whom
come allele frequencies and scaling, and patients; it draws SNPs, weights and a synthetic disease.
Beside each figure stand the commonest genotype by frequency, which never gives a whole genotype,
and a control: rows read from one batch are compared with patients of another. "accuracy" is that of
the row nearest to each patient, picked by an oracle.

Settings of the attack were chosen on seeds 100 to 103, with batches of 16 to 192 from the same
panel. The seeds reported are others, the people are not: the panel has no more.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

import leaklab
from leaklab.assess import genotypes as scene
from leaklab.attacks import genotypes
from leaklab.defences import compression
from leaklab.evidence import Evidence
from leaklab.federation import train_on
from leaklab.metrics.genotypes import accuracy, dosage_r2
from leaklab.models import logistic_regression
from leaklab.runtime import generator
from leaklab.updates import LocalTraining, Recovered, View
from studies import by_condition, victims_interval

SEEDS = tuple(range(10))
GRID = 2000  # SNPs where batch sizes and widths are compared
GOAL = 5000
VICTIMS = 10  # patients a seed, each alone in an update
EARLIER = LocalTraining(0.05, local_steps=100, batch_size=32)  # behind a trained model
METHODS = {"alone": ("alone",), "differences": ("differences",), "unmixing": ("unmixing",),
           "all": genotypes.METHODS}
OPTIMISERS = {"sgd": {"learning_rate": 0.05}, "momentum": {"learning_rate": 0.02, "momentum": 0.9},
              "adam": {"learning_rate": 0.001, "optimiser": "adam"}}
COMPRESSED = {"none": None, "half precision": compression.half_precision(),
              "eight bits": compression.int8(),
              "largest tenth": compression.top_k(0.1)}
FAMILIES = ("families", "families, five steps", "families, narrow layer")
BINS = (0.05, 0.1, 0.2, 0.5)  # of minor allele frequency


def trials() -> list[dict]:
    """Every setting of the study, for every seed."""
    settings = [{"part": "single", "kind": kind, "trained": trained}
                for kind in ("mlp", "logistic") for trained in (False, True)]
    batch = {"part": "batch", "snps": GRID, "raw": False}
    settings += [{**batch, "size": size, "width": width, "method": "all"}
                 for width in (64, 128, 256) for size in (1, 8, 16, 32, 64, 96, 128, 192, 256)
                 if size <= 2 * width]
    settings += [{**batch, "size": size, "width": 256, "method": method, "raw": raw}
                 for raw in (False, True) for method in ("alone", "differences", "unmixing")
                 for size in (8, 16, 32, 64, 128) if not (raw and method == "unmixing")]
    settings += [{**batch, "size": size, "width": 256, "method": "all", "snps": snps}
                 for size, snps in ((64, GOAL), (128, GOAL), (64, 1000), (64, 500), (16, 200))]
    settings += [{"part": "steps", "optimiser": optimiser, "steps": steps, "minibatch": minibatch}
                 for optimiser in OPTIMISERS for steps in (1, 5, 20) for minibatch in (16, 4)
                 if (steps, minibatch) != (1, 4)]
    settings += [{"part": "compressed", "how": how, "size": size, "known": known}
                 for how in COMPRESSED for size in (8, 32) for known in (True, False)]
    settings += [{"part": "sum", "width": width} for width in (256, 128, 64, 32)]
    settings += [{"part": "hard", "case": case, "size": size}
                 for case in ("linked", "families", "mixed", "trained") for size in (8, 16, 32)]
    settings += [{"part": "hard", "case": case, "size": 16} for case in FAMILIES[1:]]
    return [{**setting, "seed": seed} for setting in settings for seed in SEEDS]


def run(setting: Mapping) -> dict:
    """Measure one trial."""
    parts = {"single": run_single, "batch": run_batch, "steps": run_steps,
             "compressed": run_compressed, "sum": run_sum, "hard": run_hard}
    return parts[setting["part"]](**{k: v for k, v in setting.items() if k != "part"})


# --- Reading and judging ----------------------------------------------------------------------


def read(net: torch.nn.Module, view: View, group: scene.Cohort, seed: int, *, raw: bool = False,
         method: str = "all", batch_size: int | None = None) -> Recovered | None:
    """The attack's answer; ``None`` where it refuses."""
    try:
        return genotypes.recover(
            net, view, frequencies=group.frequencies, encoding=None if raw else group.encoding,
            batch_size=batch_size, methods=METHODS[method], generator=generator(seed, "attack"))
    except ValueError as refusal:
        if "batch_size" not in str(refusal):
            raise
        return None


def judge(answer: Recovered | None, group: scene.Cohort, chosen: Tensor, others: Tensor) -> dict:
    """How an answer fares; see the module's docstring. Shares are of the patients."""
    truth = group.private[chosen]
    guess = scene.likeliest(group.frequencies).expand_as(truth)
    prior = float(accuracy(guess.numpy(), truth.numpy()).mean())
    prior_exact = float((guess == truth).all(1).double().mean())
    if answer is None or not len(answer.guess):
        return {"exact": 0.0, "certified": 0.0, "claims": 0, "false": 0, "accuracy": prior,
                "prior": prior, "prior_exact": prior_exact, "other_exact": 0.0,
                "refused": float(answer is None)}
    near = scene.nearest_rows(answer, truth)
    other = scene.found(answer, group.private[others]).double().mean() if len(others) else 0.0
    claims, false = int(answer.certificate.sum()), scene.false_claims(answer, truth)
    return {"exact": float(scene.found(answer, truth).double().mean()),
            "certified": (claims - false) / len(truth), "claims": claims, "false": false,
            "accuracy": float(accuracy(near.numpy(), truth.numpy()).mean()), "prior": prior,
            "prior_exact": prior_exact, "other_exact": float(other), "refused": 0.0}


def by_frequency(answer: Recovered, group: scene.Cohort, chosen: Tensor) -> dict:
    """Squared correlation of the nearest rows with the patients, by minor allele frequency."""
    truth = group.private[chosen]
    f = group.frequencies.numpy()
    r2 = dosage_r2(scene.nearest_rows(answer, truth).numpy(), truth.numpy(),
                   np.minimum(f, 1 - f), BINS)
    return {f"r2_{low:g}_{high:g}": float(value)
            for (low, high), value in zip(pairwise(BINS), r2, strict=True)}


# --- The parts --------------------------------------------------------------------------------


def run_single(kind: str, trained: bool, seed: int) -> dict:
    """Ten patients, each alone in an update, at all SNPs."""
    group = scene.cohort(seed, scene.europeans().snps)
    snps = group.private.shape[1]
    net = scene.network(seed, snps) if kind == "mlp" else logistic_regression(
        generator(seed, "weights"), num_features=snps)
    chosen, others = scene.victims(VICTIMS, group, seed)
    if trained:
        train_before(net, group, torch.cat([chosen, others]), seed)
    answers = [genotypes.single(net, scene.seen(net, group, one[None], seed=seed),
                                encoding=group.encoding) for one in chosen]
    whole = Recovered(torch.cat([a.guess for a in answers]),
                      certificate=torch.cat([a.certificate for a in answers]))
    return judge(whole, group, chosen, others)


def train_before(net: torch.nn.Module, group: scene.Cohort, left_out: Tensor, seed: int) -> None:
    """Train ``net`` on patients who are not among those left out."""
    rest = torch.ones(len(group.private), dtype=torch.bool)
    rest[left_out] = False
    update = train_on(net, group.inputs(rest), group.labels[rest], EARLIER,
                      generator=generator(seed, "earlier"))
    net.load_state_dict(update.after)


def run_batch(size: int, width: int, method: str, snps: int, raw: bool, seed: int) -> dict:
    """One step on ``size`` patients."""
    group = scene.cohort(seed, snps)
    chosen, others = scene.victims(size, group, seed)
    net = scene.network(seed, snps, width)
    view = (of_raw if raw else scene.seen)(net, group, chosen, seed=seed)
    return judge(read(net, view, group, seed, raw=raw, method=method), group, chosen, others)


def of_raw(net: torch.nn.Module, group: scene.Cohort, chosen: Tensor, seed: int) -> View:
    """What the server sees where hospitals give the model dosages as they are."""
    update = train_on(net, group.private[chosen].float(), group.labels[chosen], scene.STEP,
                      generator=generator(seed, "local"))
    view = scene.seen(net, group, chosen, seed=seed)
    return View(view.observer, view.artefact, update.before, update.after, view.contributors,
                view.weights, view.knowledge)


def run_steps(optimiser: str, steps: int, minibatch: int, seed: int) -> dict:
    """Sixteen patients, several steps on all of them or on four at a time."""
    training = LocalTraining(local_steps=steps, batch_size=minibatch, **OPTIMISERS[optimiser])
    group, net = scene.cohort(seed, GRID), scene.network(seed, GRID)
    chosen, others = scene.victims(16, group, seed)
    view = scene.seen(net, group, chosen, training, seed=seed)
    answer = read(net, view, group, seed, batch_size=16)
    return {**judge(answer, group, chosen, others), **by_frequency(answer, group, chosen)}


def run_compressed(how: str, size: int, known: bool, seed: int) -> dict:
    """One step, its update compressed before it is sent."""
    group, net = scene.cohort(seed, GRID), scene.network(seed, GRID)
    chosen, others = scene.victims(size, group, seed)
    view = scene.seen(net, group, chosen, seed=seed, compress=COMPRESSED[how])
    if not known:
        view = View(view.observer, view.artefact, view.before, view.after, view.contributors,
                    None, view.knowledge)
    answer = read(net, view, group, seed)
    scores = judge(answer, group, chosen, others)
    return {**scores, **by_frequency(answer, group, chosen)} if answer else scores


def run_sum(width: int, seed: int) -> dict:
    """Eight hospitals, eight patients each, of which the server sees the sum."""
    group, net = scene.cohort(seed, GOAL), scene.network(seed, GOAL, width)
    chosen, others = scene.victims(64, group, seed)
    view = scene.seen_in_sum(net, group, list(chosen.split(8)), seed=seed)
    return judge(read(net, view, group, seed, batch_size=64), group, chosen, others)


def run_hard(case: str, size: int, seed: int) -> dict:
    """Patients or models that the attack's assumptions do not fit."""
    people = case.split(",")[0]
    group = scene.cohort(seed, GRID, "europeans" if people == "trained" else people)
    snps = group.private.shape[1]
    net = scene.network(seed, snps, 32 if "narrow" in case else 128)
    chosen, others = scene.victims(size, group, seed)
    if case == "trained":
        train_before(net, group, torch.cat([chosen, others]), seed)
    training = LocalTraining(0.1, local_steps=5 if "five" in case else 1)
    view = scene.seen(net, group, chosen, training, seed=seed)
    return judge(read(net, view, group, seed), group, chosen, others)


# --- From trials to evidence ------------------------------------------------------------------


STATEMENTS = {
    "exact": ("Share of patients all of whose genotypes were read.", "share of patients"),
    "certified": ("Share of patients read and rightly certified, without the truth.",
                  "share of patients"),
    "accuracy": ("Share of genotypes right in the row nearest to each patient.",
                 "share of genotypes"),
    "refused": ("Share of trials that the attack refuses.", "share of trials"),
    **{f"r2_{low:g}_{high:g}": ("Squared correlation with the genotypes, minor allele frequency "
                                f"{low:g} to {high:g}.", "r2") for low, high in pairwise(BINS)},
}


def summarise(results: list[tuple[dict, dict]]) -> list[Evidence]:
    """One statement a condition and quantity worth saying, and those over all conditions."""
    conditions = list(by_condition(results))
    items = [describe(setting, outcomes, key) for setting, outcomes in conditions
             for key in STATEMENTS if worth_saying(key, setting, outcomes)]
    kin = [pair for pair in conditions if pair[0].get("case") in FAMILIES]
    rest = [pair for pair in conditions if pair[0].get("case") not in FAMILIES]
    return [*items, false_claims("unrelated", rest), other_batches(conditions),
            *(false_claims(setting_name(setting), [(setting, outcomes)])
              for setting, outcomes in kin)]


def worth_saying(key: str, setting: dict, outcomes: list[dict]) -> bool:
    """Whether a quantity says more than the share read whole, which is always recorded."""
    if key == "exact":
        return True
    if any(key not in outcome or not np.isfinite(outcome[key]) for outcome in outcomes):
        return False
    whole = [outcome["exact"] for outcome in outcomes]
    if key == "refused":
        return any(outcome["refused"] for outcome in outcomes)
    if key == "certified":
        return setting["part"] == "single" or [o["certified"] for o in outcomes] != whole
    return setting["part"] == "single" or (np.mean(whole) < 1 and setting["part"] != "batch")


def other_batches(conditions: list) -> Evidence:
    """The control over all conditions: patients of another batch among the rows."""
    runs = tuple(float(max(outcomes[k]["other_exact"] for _, outcomes in conditions))
                 for k in range(len(SEEDS)))
    return make("other_batch_exact", "Largest share, over all conditions, of patients of another "
                "batch among the rows.", runs, "share of patients", (min(runs), max(runs)),
                "smallest and largest trial", {"part": "control"}, None, "no guess applies")


def size_of(setting: dict) -> int:
    """Patients behind a trial."""
    return {"single": VICTIMS, "steps": 16, "sum": 64}.get(setting["part"]) or setting["size"]


def setting_name(setting: dict) -> str:
    """A name without spaces for one condition."""
    words = [str(value) if not isinstance(value, bool) else key * value
             for key, value in setting.items()]
    return "_".join(word.replace(",", "").replace(" ", "_") for word in words if word)


def describe(setting: dict, outcomes: list[dict], key: str) -> Evidence:
    """Evidence of one quantity; a trial is one split, draw of weights and batch."""
    runs = tuple(float(outcome[key]) for outcome in outcomes)
    statement, unit = STATEMENTS[key]
    interval, kind = (min(runs), max(runs)), "smallest and largest trial"
    if unit.startswith("share"):
        interval, kind = victims_interval(runs, 1 if unit == "share of trials" else
                                          size_of(setting))
    baseline = {"exact": "prior_exact", "accuracy": "prior"}.get(key)
    extra = {"claims": sum(outcome["claims"] for outcome in outcomes),
             "false": sum(outcome["false"] for outcome in outcomes)}
    return make(f"{setting_name(setting)}_{key}", statement, runs, unit, interval, kind,
                {**setting, **extra},
                float(np.mean([o[baseline] for o in outcomes])) if baseline else None,
                "commonest genotype by allele frequency" if baseline else "no guess applies")


def false_claims(name: str, conditions: list) -> Evidence:
    """Certified rows that are no patient, of all that were certified."""
    false = np.array([[o["false"] for o in outcomes] for _, outcomes in conditions]).sum(0)
    claims = np.array([[o["claims"] for o in outcomes] for _, outcomes in conditions]).sum(0)
    runs = tuple(float(a / max(1, b)) for a, b in zip(false, claims, strict=True))
    total = int(claims.sum())
    share = int(false.sum()) / max(1, total)
    low, high = victims_interval((share, share), max(1, total // 2))[0] if total else (0.0, 1.0)
    return make(f"false_claims_{name}", "Share of certified rows that are no patient's.", runs,
                "share of rows", (min(low, float(np.mean(runs))), max(high, float(np.mean(runs)))),
                "95 % Clopper-Pearson over rows", {"part": "claims", "of": name}, None,
                "no guess applies", successes=int(false.sum()), trials=total)


def make(name: str, statement: str, runs: tuple, unit: str, interval: tuple, kind: str,
         setting: dict, baseline: float | None, baseline_kind: str, **more) -> Evidence:
    """Evidence with the provenance of its data."""
    linked = setting.get("case") == "linked"
    panel = scene.cohort(0, GRID, "linked").panel if linked else scene.europeans()
    part = setting.get("part")
    return Evidence(
        name=name, statement=statement, value=float(np.mean(runs)), unit=unit, interval=interval,
        interval_kind=kind, baseline=baseline, baseline_kind=baseline_kind, runs=runs, seeds=SEEDS,
        data=panel.provenance, data_sha256=panel.sha256, scale="fast", version=leaklab.__version__,
        view="server behind secure aggregation" if part == "sum" else "server",
        defence=setting.get("how") if setting.get("how") != "none" else None,
        privacy_unit="patient", setting=setting, clusters=len(SEEDS), **more)
