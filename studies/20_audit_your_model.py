"""Study 20: what an audit finds where a leak is known, and what it claims where there is none.

    dense   a table through a first dense layer, from which one record is read by arithmetic
    null    the same, at a learning rate so small that rounding swallows the update: whatever an
            audit then says of records is a false alarm

Records are the diabetes patients of scikit-learn, scaled to [0, 1]. A seed draws the weights, who
is a victim, and the batches. The numbers of hospitals, rounds and evaluations were set beforehand.
"""

from __future__ import annotations

import torch

import leaklab
from leaklab.assess.audit import Audit, Batch, Effort, Federation, audit
from leaklab.data import diabetes
from leaklab.evidence import Evidence
from leaklab.metrics import mean_interval, proportion_interval
from leaklab.models import mlp
from leaklab.runtime import generator
from leaklab.updates import LocalTraining

SEEDS = tuple(range(20))
RATES = {"dense": 0.1, "null": 1e-12}
SIZES, HOSPITALS = (1, 16), 5
EFFORT = Effort(trials=5, evaluations=20, draws=64, most_searched=1)
OF_RECORDS = ("records read", "records matched", "membership AUC")


def records() -> Batch:
    """The diabetes patients, every column from 0 to 1."""
    table = diabetes.load()
    inputs = torch.tensor(table.inputs).float()
    low, high = inputs.amin(0), inputs.amax(0)
    return Batch((inputs - low) / (high - low), torch.tensor(table.targets).long(),
                 torch.arange(len(inputs)))


def audited(model: str, seed: int) -> Audit:
    """One audit of the study."""
    batch = records()
    net = mlp(generator(seed, "weights"), num_features=batch.inputs.shape[1], width=64)
    federation = Federation(HOSPITALS, SIZES, LocalTraining(RATES[model]))
    return audit(net, batch=batch, federation=federation, effort=EFFORT, seed=seed)


def trials() -> list[dict]:
    """Each model under each seed."""
    return [{"model": model, "seed": seed} for model in ("dense", "null") for seed in SEEDS]


def run(setting: dict) -> dict:
    """What the audit says."""
    found = audited(setting["model"], setting["seed"])
    done = [r for r in found.results if r.status == "measured" and r.metric in OF_RECORDS]
    read = {f"{r.artefact}_{r.batch_size}": r.value for r in done if "neuron" in r.attack}
    blind = {f"{r.artefact}_{r.batch_size}": r.baseline for r in done if "neuron" in r.attack}
    return {"alarms": sum(r.above for r in done), "asked": len(done), "read": read, "blind": blind}


# --- From trials to evidence ----------------------------------------------------------------------


def summarise(results: list[tuple[dict, dict]]) -> list[Evidence]:
    """False alarms on the null, and records read through the dense layer."""
    by = {model: [numbers for setting, numbers in results if setting["model"] == model]
          for model in ("dense", "null")}
    alarmed = [float(numbers["alarms"] > 0) for numbers in by["null"]]
    hits = int(sum(alarmed))
    items = [_item(
        "null_false_alarm", "Audits of updates that rounding has swallowed which claim that some "
        "record is read, matched or told from others.", alarmed,
        proportion_interval(hits, len(alarmed)), "95 % Clopper-Pearson over trials", None,
        "none: nothing can leak", successes=hits, trials=len(alarmed))]
    for place in sorted(by["dense"][0]["read"]):
        values = [numbers["read"][place] for numbers in by["dense"]]
        artefact, size = place.rsplit("_", 1)
        low, high = mean_interval(values)
        items.append(_item(
            f"dense_{place}", f"Share of records read neuron by neuron from the {artefact}, "
            f"hospitals training on {size}.", values, (max(0.0, low), min(1.0, high)),
            "95 % t over trials, cut to 0 and 1",
            sum(n["blind"][place] for n in by["dense"]) / len(values),
            "the mean and the commonest public record"))
    return items


def _item(name, statement, runs, interval, kind, baseline, baseline_kind, **counts) -> Evidence:
    return Evidence(
        name=name, statement=statement, value=sum(runs) / len(runs), unit="share",
        interval=interval, interval_kind=kind, baseline=baseline, baseline_kind=baseline_kind,
        runs=tuple(runs), seeds=SEEDS, data=diabetes.load().provenance,
        data_sha256=diabetes.load().sha256, scale="fast", version=leaklab.__version__,
        setting={"hospitals": HOSPITALS, "rounds": EFFORT.trials, "learning_rates": RATES},
        **counts)
