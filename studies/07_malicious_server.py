"""Study 7: what a server reads that crafts the model, and what a hospital can see of it.

    imprint        radiographs read from one update, and from the sum of five hospitals, by number
                   of records and of bins; beside them those alone in their bin, and theory
    plain          the control: a layer of the same shape that nobody crafted
    traps          radiographs read off a dense first layer, crafted or not
    inconsistency  one hospital of five behind a secure sum, the others sent a dead model
    honest         checks of models that nobody crafted, of eight kinds, at three stages
    caught         checks of crafted models, and of the layer that traps are set in before they
                   are; beside them what was read

A seed redraws the weights, the split of patients and the victims. The attacker has the public half
of the patients and knows the training; labels and numbers of records it does not need. A record is
read at 60 dB. The same is asked of the public images, the best that no update can do, and of as
many patients who were in no update, where there are so many. Settings of attacks and thresholds of
checks come from seeds 100 to 103.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

import leaklab
from leaklab.assess.inversion import Halves, halves, sent
from leaklab.assess.reading import best_psnr, claims, read
from leaklab.attacks.malicious_server import imprint, inconsistency, trap_weights
from leaklab.data import diabetes, hospitals, radiology, scaling
from leaklab.data.dataset import Dataset
from leaklab.defences import detectors
from leaklab.evidence import Evidence
from leaklab.federation import train_on
from leaklab.metrics import proportion_interval, reconstruction
from leaklab.models import conv_net, mlp, small_cnn
from leaklab.runtime import generator, isolated_rng
from leaklab.updates import Knowledge, LocalTraining, Recovered, Update
from studies import by_condition, interval_of

SEEDS = tuple(range(20))
IMAGES = 4000
SOURCES = ("synthetic", "real")
STEP = LocalTraining(0.1, mode="eval")  # one step on all records
RECORDS, BINS, SITES = (8, 64, 256), (64, 128, 512), 5
WIDTH = 512  # of the dense first layer
TRAPS = (0.95, 0.97)
TARGET, OTHERS = 8, 64  # records of the hospital sought, and of each other one
CHECKED, CHECKED_BINS = 64, 128  # own records of a hospital that checks; bins of the imprint
STAGES = (0, 30, 300)  # training steps
CRAFTED = ("imprint", *(f"traps {s}" for s in TRAPS), "dead", "honest dense")
CHECKS = ("identical_rows", "bias_ladder", "identical_answers", "silent_neurons", "gradient_snr")


def deep(source: torch.Generator) -> nn.Sequential:
    """Three dense layers."""
    with isolated_rng(source):
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128),
                             nn.ReLU(), nn.Linear(128, 2))


def dense(source: torch.Generator, **changes) -> nn.Sequential:
    """A dense first layer of the width that is attacked."""
    return mlp(source, num_features=784, **{"width": WIDTH, **changes})


def convolutions(source: torch.Generator, **changes) -> nn.Sequential:
    """The network of chapters 4 and 5."""
    return conv_net(source, num_classes=2, **changes)


HONEST = {
    "dense": (dense, "synthetic"), "dense, real": (dense, "real"), "deep": (deep, "real"),
    "GELU": (functools.partial(dense, width=128, activation=nn.GELU), "real"),
    "small CNN": (small_cnn, "synthetic"), "convolutions": (convolutions, "real"),
    "BatchNorm": (functools.partial(convolutions, batch_norm=True), "synthetic"),
    "table": (functools.partial(mlp, num_features=10), "diabetes"),
}


def trials() -> list[dict]:
    """Every setting of the study, for every seed."""
    settings = [{"part": "imprint", "data": data, "how": how, "records": records, "bins": bins}
                for data in SOURCES for how in ("update", "sum") for records in RECORDS
                for bins in BINS if how == "update" or records * SITES < 3 * bins]
    settings += [{"part": "plain", "data": data} for data in SOURCES]
    settings += [{"part": "traps", "data": data, "records": records, "scale": scale}
                 for data in SOURCES for records in RECORDS for scale in (None, *TRAPS)]
    settings += [{"part": "inconsistency", "data": data, "model": model}
                 for data in SOURCES for model in ("dense", "imprint")]
    settings += [{"part": "honest", "kind": kind, "steps": steps}
                 for kind in HONEST for steps in STAGES]
    settings += [{"part": "caught", "data": data, "crafted": crafted}
                 for data in SOURCES for crafted in CRAFTED]
    return [{**setting, "seed": seed} for setting in settings for seed in SEEDS]


def run(setting: Mapping) -> dict:
    """Measure one trial."""
    parts = {"imprint": run_imprint, "plain": run_plain, "traps": run_traps,
             "inconsistency": run_inconsistency, "honest": run_honest, "caught": run_caught}
    return parts[setting["part"]](**{k: v for k, v in setting.items() if k != "part"})


@functools.cache
def radiographs(source: str) -> Dataset:
    """Normal chests and chests with opacities, 28 x 28."""
    return radiology.load("chest", source=source, n=IMAGES)


@functools.lru_cache(4)
def known(data: str, seed: int) -> Halves:
    """The victims' half of the patients and the attacker's."""
    return halves(radiographs(data), seed)


def weights(seed: int) -> torch.Generator:
    """The draw of a seed's weights."""
    return generator(seed, "initial weights")


def judged(answer: Recovered, victims: Tensor, half: Halves) -> dict[str, float]:
    """Shares read and claimed, beside two answers without the update and the wrong victims."""
    guess = answer.guess.reshape(-1, *victims.shape[1:])
    claimed, false = claims(answer, victims)
    strangers = half.private[len(victims):][:len(victims)]  # of the same half, in no update
    mean = reconstruction.psnr(reconstruction.mean_image(half.public, len(victims)), victims)
    psnr = best_psnr(guess, victims).clamp(0, reconstruction.EXACT_DB)
    return {"exact": share(read(guess, victims)), "claimed": claimed / len(victims),
            "false": false, "claims": claimed, "other": share(read(guess, strangers)),
            "nearest": share(read(half.public, victims)), "psnr": float(psnr.mean()),
            "prior": float(mean.mean())}


def share(which: Tensor) -> float:
    """The share that holds."""
    return float(which.double().mean())


def updates_of(models: list[nn.Module], half: Halves, sizes: list[int], seed: int) -> list[Update]:
    """Updates of hospitals with so many records each, in the order of the private half, each from
    the model that it was sent."""
    total = sum(sizes)
    parts = zip(models, half.private[:total].split(sizes), half.private_labels[:total].split(sizes),
                strict=True)
    return [train_on(model, x, y, STEP, hospital=f"Hospital {k + 1}",
                     generator=generator(seed, "local", k))
            for k, (model, x, y) in enumerate(parts)]


def run_imprint(data: str, how: str, records: int, bins: int, seed: int) -> dict:
    """One update, or the sum of five hospitals with as many records each."""
    half = known(data, seed)
    net = imprint.imprinted(convolutions(weights(seed)), half.public, bins)
    total = records * (SITES if how == "sum" else 1)
    victims, labels = half.private[:total], half.private_labels[:total]
    if how == "sum":
        updates = updates_of([net] * SITES, half, [records] * SITES, seed)
        view = inconsistency.opened_sum(updates, "Hospital 1", Knowledge(STEP))
    else:
        view = sent(net, victims, labels, STEP, seed)
    rows, thresholds = imprint.brightness_bins(half.public, bins)
    alone = imprint.alone(thresholds, victims.flatten(1) @ rows[0])
    return {**judged(imprint.read_bins(net, view), victims, half), "alone": share(alone),
            "theory": imprint.single_hits(bins, total, len(half.public))}


def run_plain(data: str, seed: int) -> dict:
    """The same layer as it is initialised, read in the same way."""
    half = known(data, seed)
    net = imprint.imprinted(convolutions(weights(seed)), half.public, CHECKED_BINS)
    with isolated_rng(generator(seed, "plain layer")):
        for layer in (net.imprint.bins, net.imprint.back):
            layer.reset_parameters()
    victims, labels = half.private[:CHECKED], half.private_labels[:CHECKED]
    return judged(imprint.read_bins(net, sent(net, victims, labels, STEP, seed)), victims, half)


def run_traps(data: str, records: int, scale: float | None, seed: int) -> dict:
    """A dense first layer, crafted or as it is initialised."""
    half, net = known(data, seed), dense(weights(seed))
    if scale is not None:
        net = trap_weights.trapped(net, generator(seed, "traps"), scale=scale)
    victims, labels = half.private[:records], half.private_labels[:records]
    on = net[1](victims.flatten(1)) > 0
    single = on[:, on.sum(0) == 1].any(1)
    answer = trap_weights.read_rows(net, sent(net, victims, labels, STEP, seed))
    return {**judged(answer, victims, half), "alone": share(single),
            "on": float(on.double().mean())}


def run_inconsistency(data: str, model: str, seed: int) -> dict:
    """The target's images out of its own update, out of the sum, and with the others silenced."""
    half = known(data, seed)
    net = dense(weights(seed)) if model == "dense" else imprint.imprinted(
        convolutions(weights(seed)), half.public, CHECKED_BINS)
    attack = trap_weights.read_rows if model == "dense" else imprint.read_bins
    victims, sizes = half.private[:TARGET], [TARGET] + [OTHERS] * (SITES - 1)
    dead = inconsistency.silenced(net)
    own = sent(net, victims, half.private_labels[:TARGET], STEP, seed)
    views = {"update": own}
    for name, others in (("sum", net), ("inconsistent", dead)):
        updates = updates_of([net] + [others] * (SITES - 1), half, sizes, seed)
        views[name] = inconsistency.opened_sum(updates, "Hospital 1", Knowledge(STEP))
    last = list(own.before)[-1]  # the bias of the head learns in a dead model too
    moved = {name: torch.cat([(view.after[key] - view.before[key]).flatten()
                              for key in view.before if key != last])
             for name, view in views.items()}
    found = {}
    for name, view in views.items():
        guess = attack(net, view).guess.reshape(-1, *victims.shape[1:])
        found[f"{name}_exact"] = share(read(guess, victims))
        found[f"{name}_cosine"] = float(cosine_similarity(moved[name], moved["update"], dim=0))
    states = {f"Hospital {k}": (net if k == 0 else dead).state_dict() for k in range(SITES)}
    return {**found, "nearest": share(read(half.public, victims)),
            "different_models": float(detectors.same_model(states).alarm),
            "same_models": float(detectors.same_model(dict.fromkeys(states, net.state_dict()))
                                 .alarm)}


def looked_at(net: nn.Module, inputs: Tensor, labels: Tensor) -> dict:
    """Statistics and alarms of the checks of one hospital, and the leak itself."""
    found = detectors.inspect(net, inputs, labels)
    return {**{check.name: check.statistic for check in found},
            **{f"{check.name}_alarm": float(check.alarm) for check in found},
            "any_alarm": float(any(check.alarm for check in found)),
            "lone": detectors.lone_records(net, inputs, labels).statistic}


def run_honest(kind: str, steps: int, seed: int) -> dict:
    """A model that nobody crafted, trained on public patients; each stage has its own start."""
    make, data = HONEST[kind]
    net = make(generator(seed, kind, steps, "initial weights"))
    if data == "diabetes":
        public, private = hospitals.train_test(diabetes.load(), 0.5, np.random.default_rng(seed))
        by = scaling.fit(public)
        own, outside = (torch.tensor(scaling.scale(part, by).inputs)
                        for part in (private, public))
        own_labels, labels = torch.tensor(private.targets), torch.tensor(public.targets)
    else:
        half = known(data, seed)
        own, own_labels, outside, labels = vars(half).values()
    if steps:
        training = LocalTraining(0.1, local_steps=steps, batch_size=32)
        net.load_state_dict(train_on(net, outside, labels, training,
                                     generator=generator(seed, kind, steps, "training")).after)
    return looked_at(net, own[:CHECKED], own_labels[:CHECKED])


def run_caught(data: str, crafted: str, seed: int) -> dict:
    """A crafted model: what the checks say, on the records that are then trained on and read."""
    half = known(data, seed)
    kind, _, detail = crafted.partition(" ")
    victims, labels = half.private[:CHECKED], half.private_labels[:CHECKED]
    if kind == "imprint":
        net = imprint.imprinted(convolutions(weights(seed)), half.public, CHECKED_BINS)
    elif kind == "dead":
        net = inconsistency.silenced(convolutions(weights(seed)))
    else:
        net = dense(weights(seed))
    if kind == "traps":
        net = trap_weights.trapped(net, generator(seed, "traps"), scale=float(detail))
    found = looked_at(net, victims, labels)
    if kind == "dead":
        return found
    attack = imprint.read_bins if kind == "imprint" else trap_weights.read_rows
    return {**found, **judged(attack(net, sent(net, victims, labels, STEP, seed)), victims, half)}


# --- From trials to evidence ------------------------------------------------------------------


STATEMENTS = {
    "exact": ("Share of records that were read, to 60 dB.", "share of records"),
    "claimed": ("Share of records that the attacker claims to have read.", "share of records"),
    "false": ("Share of trials in which a claim was no record.", "share of trials"),
    "alone": ("Share of records alone in their bin, or alone at some neuron.", "share of records"),
    "other": ("Share of images of other patients among the answers.", "share of records"),
    "psnr": ("PSNR of the answer nearest to each record.", "dB"),
    "on": ("Share of pairs of record and neuron that are on.", "share of pairs"),
    "update_exact": ("The same of the target's own update.", "share of records"),
    "sum_exact": ("Share of the target's records read from the sum.", "share of records"),
    "inconsistent_exact": ("The same where the others were sent a dead model.",
                           "share of records"),
    "sum_cosine": ("Cosine between the sum and the target's own update, without the last bias.",
                   "cosine"),
    "inconsistent_cosine": ("The same where the others were sent a dead model.", "cosine"),
    "different_models": ("Share of trials in which hashes tell that the models differ.",
                         "share of trials"),
    "same_models": ("Share of trials in which they tell so of one model.", "share of trials"),
    "lone": ("Share of the hospital's records that one neuron, or two together, isolate.",
             "share of records"),
    "any_alarm": ("Share of trials in which one of the five checks gives alarm.",
                  "share of trials"),
    **{f"{check}_alarm": (f"Share of trials in which {check} gives alarm.", "share of trials")
       for check in CHECKS},
}
ORDER = {"imprint": ("data", "how", "records", "bins"), "plain": ("data",),
         "traps": ("data", "records", "scale"), "inconsistency": ("data", "model"),
         "honest": ("kind", "steps"), "caught": ("data", "crafted")}
NO_WIDE_DENSE_LAYER = ("convolutions", "BatchNorm", "dead")
BLIND = {"identical_rows": NO_WIDE_DENSE_LAYER, "bias_ladder": NO_WIDE_DENSE_LAYER,
         "identical_answers": NO_WIDE_DENSE_LAYER, "silent_neurons": ("GELU",),
         "lone": NO_WIDE_DENSE_LAYER}
LEFT_OUT = {"caught": ("claimed", "other", "psnr"), "traps": ("other", "psnr")}


def summarise(results: list[tuple[dict, dict]]) -> list[Evidence]:
    """One statement a condition and quantity, and those over all honest models."""
    conditions = list(by_condition(results))
    honest = [(setting, outcomes) for setting, outcomes in conditions
              if setting["part"] == "honest"]
    return [describe(setting, outcomes, key) for setting, outcomes in conditions
            for key in outcomes[0] if key in STATEMENTS and key not in LEFT_OUT.get(
                setting["part"], ())
            if (setting["part"] != "honest" or key == "lone")
            and setting.get("kind", setting.get("crafted")) not in BLIND.get(key, ())
            ] + list(false_alarms(honest))


def describe(setting: dict, outcomes: list[dict], key: str) -> Evidence:
    """Evidence of one quantity; a trial is one draw of weights, split and victims."""
    runs = [float(min(outcome[key], 1) if key == "false" else outcome[key])
            for outcome in outcomes]
    statement, unit = STATEMENTS[key]
    more: dict = {}
    if unit == "share of trials":
        count = round(sum(runs))
        more = {"successes": count, "trials": len(runs)}
        interval, kind = proportion_interval(count, len(runs)), "95 % Clopper-Pearson over trials"
    else:
        interval, kind = interval_of(tuple(runs), unit)
    if "claims" in outcomes[0]:
        setting = {**setting, "claims": sum(outcome["claims"] for outcome in outcomes)}
    if setting["part"] == "imprint":
        total = setting["records"] * (SITES if setting["how"] == "sum" else 1)
        setting = {**setting, "total": total, "theory": outcomes[0]["theory"],
                   "uniform": imprint.single_hits(setting["bins"], total)}
    baseline, whose = prior_of(key, outcomes)
    return make(f"{name_of(setting)}_{key}", statement, runs, unit, interval, kind, setting,
                baseline=baseline, baseline_kind=whose, **more)


def false_alarms(honest: list[tuple[dict, list[dict]]]) -> Iterator[Evidence]:
    """Alarms over the honest models at which a check has something to look at, and the largest
    statistic that a seed reached."""
    for check in (*CHECKS, "any"):
        looked = [kind for kind in HONEST if kind not in BLIND.get(check, ())]
        table = np.array([[outcome[f"{check}_alarm"] for outcome in outcomes]
                          for setting, outcomes in honest if setting["kind"] in looked])
        yield make(f"honest_{check}_alarm", f"Share of honest models at which {check} gives alarm.",
                   table.mean(0), "share of models",
                   proportion_interval(int(table.sum()), table.size),
                   "95 % Clopper-Pearson over models",
                   {"part": "honest", "kinds": looked, "stages": list(STAGES)},
                   successes=int(table.sum()), trials=table.size)
    for check in CHECKS:
        largest = np.array([[outcome[check] for outcome in outcomes]
                            for _, outcomes in honest]).max(0)
        yield make(f"honest_{check}_statistic", f"Largest statistic of {check} on honest models.",
                   largest, "statistic", (float(largest.min()), float(largest.max())),
                   "smallest and largest trial",
                   {"part": "honest", "kinds": list(HONEST), "stages": list(STAGES)})


def make(name: str, statement: str, runs, unit: str, interval: tuple, kind: str, setting: dict,
         baseline: float | None = None, baseline_kind: str = "no guess applies",
         **more) -> Evidence:
    """Evidence with the provenance of its data."""
    source = setting.get("data") or HONEST.get(setting.get("kind", "dense"))[1]
    data = diabetes.load() if source == "diabetes" else radiographs(source)
    return Evidence(
        name=name, statement=statement, value=float(np.mean(runs)), unit=unit,
        interval=interval, interval_kind=kind, baseline=baseline, baseline_kind=baseline_kind,
        runs=tuple(map(float, runs)), seeds=SEEDS, data=data.provenance, data_sha256=data.sha256,
        scale="fast", version=leaklab.__version__, view=view_of(setting), privacy_unit="record",
        setting={**setting, "width": WIDTH, "learning_rate": STEP.learning_rate},
        clusters=len(np.unique(data.patients)), **more)


def view_of(setting: dict) -> str | None:
    """Whose view it is; a check is made by the hospital itself."""
    if setting["part"] in ("honest", "caught"):
        return "hospital"
    summed = setting.get("how") == "sum" or setting["part"] == "inconsistency"
    return "active server behind secure aggregation" if summed else "active server"


def prior_of(key: str, outcomes: list[dict]) -> tuple[float | None, str]:
    """What needs no update, in the unit of ``key``."""
    if key.endswith("exact"):
        return (float(np.mean([outcome["nearest"] for outcome in outcomes])),
                "the nearest public image, which takes an oracle")
    if key == "psnr":
        return float(np.mean([outcome["prior"] for outcome in outcomes])), "the mean public image"
    return None, "no guess applies"


def name_of(setting: dict) -> str:
    """A word for a condition: its part, then its settings."""
    words = [setting["part"]]
    for key in ORDER[setting["part"]]:
        value = setting[key]
        words.append("honest" if value is None else f"{value:03d}" if isinstance(value, int)
                     else str(value).replace(",", "").replace(" ", "_"))
    return "_".join(words)
