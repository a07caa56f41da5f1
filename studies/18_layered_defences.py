"""Study 18: published heuristics against attackers who know them, and what privacy costs.

    image      one radiograph in an update of a small network, under each defence
    table      one patient's record in an update, under each defence; a dense first layer
    gaussian   the best attack on the Gaussian mechanism among candidates, beside its bound
    frontier   accuracy of four hospitals against the privacy promised to each patient, by where the
               noise is made; the ends are the federation without privacy, and each hospital alone

An attack is *naive* where it takes the update for one without a defence, and *adapted* where it
knows the defence and its parameters. *Named* asks which of 80 records of the same label was sent;
the attacker holds all of them. A seed redraws weights, split, victims and noise. Which attack is
adapted to which defence, and the rounds, learning rate and clipping norm of the frontier, were
chosen on seeds 100 to 103, of which nothing is reported.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

import leaklab
from leaklab.assess.inversion import Halves, halves, judge
from leaklab.assess.stacks import STACKS, share_of_noise
from leaklab.attacks.adapted import rows_together, where_sent
from leaklab.attacks.dense_layer import single_record
from leaklab.attacks.feature_inversion import invert_features
from leaklab.attacks.gradient_matching import inverting_gradients
from leaklab.attacks.guided_means import posterior_mean
from leaklab.attacks.observed import mean_gradient
from leaklab.attacks.search import Budget
from leaklab.attacks.simulated import keep_inputs
from leaklab.bounds import epsilon_of, gaussian_mu, reconstruction_robustness
from leaklab.data import heart, hospitals, radiology, scaling
from leaklab.data.dataset import Dataset
from leaklab.defences.clip_and_noise import ClipAndNoise
from leaklab.defences.compression import Quantised, int8, sign, top_k
from leaklab.defences.heuristics import Noise, Soteria, precode
from leaklab.defences.record_level import PrivateHospital, RecordLevel, noise_for
from leaklab.evidence import Evidence
from leaklab.federation import Hospital, fed_avg, train_on, update_view
from leaklab.gradients import record_gradients
from leaklab.metrics import majority_rate, mean_interval, proportion_interval
from leaklab.metrics import reconstruction as score
from leaklab.models import logistic_regression, mlp, predict, small_cnn
from leaklab.prior.checkpoint import chest_prior
from leaklab.runtime import generator
from leaklab.updates import Knowledge, LocalTraining, View
from studies import by_condition, interval_of

SEEDS = tuple(range(10))
STEP = LocalTraining(1.0, mode="eval")
DRAWING = LocalTraining(1.0)  # PRECODE draws in training mode only
WALKS = Budget(evaluations=10, restarts=4)
CANDIDATES = 80
PATIENTS = 10  # victims a seed, each alone in an update
SIZE = 32  # of the bottleneck
DEFENCES = {
    "none": None,
    "quantised (8 bits)": int8(),
    "quantised (4 bits)": Quantised(4),
    "top-k (10 %)": top_k(0.1),
    "top-k (1 %)": top_k(0.01),
    "sign": sign(),
    "noise without clipping (0.01)": Noise(0.01),
    "noise without clipping (0.1)": Noise(0.1),
    "Soteria (80 %)": 0.8,
    "PRECODE": SIZE,
    "clip to 1, noise multiplier 0.1": ClipAndNoise(1.0, 0.1),
    "clip to 1, noise multiplier 1": ClipAndNoise(1.0, 1.0),
}
SMALL_NOISE = 1e-4  # stands for what is left of rounding in pruned and withheld gradients

MULTIPLIERS = (0.5, 1.0, 2.0, 4.0)
TRIALS = 1000  # a seed: 10,000 in all

MUS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0)
ROUNDS, RATE, MAX_GRAD_NORM = 10, 2.0, 1.0
DELTA = 1e-3
TEST = 0.3  # of the patients
FRONTIER_SEEDS = tuple(range(20))
NOISY = {stack.noise: stack for stack in STACKS if stack.noise != "nowhere"}


def trials() -> list[dict]:
    """Every setting of the study, for every seed."""
    settings = [{"part": part, "defence": name} for part in ("image", "table") for name in DEFENCES]
    settings += [{"part": "gaussian", "noise_multiplier": noise} for noise in MULTIPLIERS]
    return [{**setting, "seed": seed} for setting in settings for seed in SEEDS] + [
        {"part": "frontier", "noise": place, "mu": mu, "seed": seed}
        for place, mu in (("alone", 0.0), ("nowhere", 0.0), *((place, mu) for place in NOISY
                                                            for mu in MUS))
        for seed in FRONTIER_SEEDS]


def run(setting: Mapping) -> dict:
    """Measure one trial."""
    parts = {"image": run_image, "table": run_table, "gaussian": run_gaussian,
             "frontier": run_frontier}
    return parts[setting["part"]](**{k: v for k, v in setting.items() if k != "part"})


# --- One update under a defence ---------------------------------------------------------------


def defended(name: str, net: nn.Sequential, layer: str, record: Tensor, label: Tensor,
             *key: object) -> View:
    """What the server sees of one step on one record under defence ``name``, which it knows.

    ``layer`` is the one whose gradient Soteria withholds.
    """
    defence, training = DEFENCES[name], DRAWING if name == "PRECODE" else STEP
    update = train_on(net, record, label, training, generator=generator("training", *key))
    if name.startswith("Soteria"):
        update = Soteria(layer, defence).defend(update, net, record)
    elif hasattr(defence, "defend"):
        update = defence.defend(update, training, generator=generator("noise", *key))
    elif callable(defence):
        update = defence(update)
    told = defence if hasattr(defence, "surrogate") else None
    return update_view(update, Knowledge(training, label, told))


def naive(view: View) -> View:
    """The view of an attacker who does not know that there is a defence."""
    return replace(view, knowledge=replace(view.knowledge, defence=None))


def masks(name: str) -> bool:
    """Whether the defence leaves entries out, so that a zero means nothing."""
    return name.startswith(("Soteria", "top-k"))


def spread(name: str, net: nn.Module, view: View) -> float:
    """The noise that an attacker who knows the defence reckons with, on each entry."""
    defence = DEFENCES[name]
    if hasattr(defence, "noise_std"):
        return defence.noise_std
    gradient = mean_gradient(net, view)
    if isinstance(defence, Quantised):  # the step of the coarsest tensor, evenly spread
        levels = 2 ** (defence.bits - 1) - 1
        return max(float(t.abs().max()) for t in gradient.values()) / levels / 12**0.5
    if name == "sign":  # as large as what is sent
        return float(torch.cat([t.flatten() for t in gradient.values()]).std())
    return SMALL_NOISE


def nearest(name: str, net: nn.Sequential, view: View, candidates: Tensor, label: Tensor,
            layer: str) -> bool:
    """Whether the first of ``candidates``, all of one label, is the likeliest to have been sent.

    By the distance of the gradients that they lead to, defended just so; behind PRECODE, whose
    draws spoil those, by the features that enter dense ``layer``, which it does not touch.
    """
    if name == "PRECODE":
        kept = keep_inputs(net.eval(), [layer])
        predict(net, view.before, candidates)
        gaps = (kept[layer] - rows_together(net, view, layer=layer).guess).square().sum(1)
        return int(gaps.argmin()) == 0
    told = (where_sent(net, view) if masks(name) else view).knowledge.defence
    surrogate = getattr(told, "surrogate", lambda gradient: gradient)
    observed = mean_gradient(net, view)
    rows = record_gradients(net, view.before, candidates, label.expand(len(candidates)), chunk=20)
    sizes = [tensor.numel() for tensor in observed.values()]
    gaps = []
    for row in rows:
        parts = {key: part.view_as(observed[key])
                 for key, part in zip(observed, row.split(sizes), strict=True)}
        sent = surrogate(parts)
        gaps.append(sum((sent[key] - observed[key]).square().sum() for key in observed))
    return int(torch.stack(gaps).argmin()) == 0


# --- Images -----------------------------------------------------------------------------------


@functools.cache
def radiographs() -> Dataset:
    """Procedural radiographs: normal chests and chests with opacities, 28 x 28."""
    return radiology.load("chest", source="synthetic", n=2000)


def run_image(defence: str, seed: int) -> dict:
    """One radiograph: what a search sees, what an adapted attack sees, and who is named."""
    known = halves(radiographs(), seed)
    victim, label = known.private[:1], known.private_labels[:1]
    net = image_model(defence, seed)
    view = defended(defence, net, "5", victim, label, seed, "image")
    start = generator(seed, "start of the attack")
    found = {"naive": inverting_gradients(net, naive(view), shape=victim.shape, generator=start),
             "adapted": read_image(defence, net, view, victim.shape, seed)}
    outcome = {}
    for who, answer in found.items():
        judged = judge(answer.guess, victim, label, known)
        outcome |= {f"{who}_uplift": float(judged.uplift), f"{who}_psnr": float(judged.psnr),
                    f"{who}_identified": float(judged.identified)}
    alike = candidates_like(known, label)
    return {**outcome, "named": float(nearest(defence, net, view, alike, label, "5"))}


def image_model(defence: str, seed: int) -> nn.Sequential:
    """A new network; with a bottleneck before its head, where that is the defence."""
    net = small_cnn(generator(seed, "weights"))
    if defence == "PRECODE":
        return precode(net, size=SIZE, generator=generator(seed, "bottleneck"))
    return net


def read_image(defence: str, net: nn.Sequential, view: View, shape: tuple[int, ...], seed: int):
    """The attack that knows the defence.

    Behind PRECODE features are divided out of a dense layer and inverted; elsewhere a diffusion
    prior reads what was sent, with as much noise as the defence makes.
    """
    start = generator(seed, "start of the adapted attack")
    if defence == "PRECODE":
        features = rows_together(net, view, layer="5").guess
        return invert_features(net, view, ("5", features), shape=shape, generator=start)
    seen = where_sent(net, view) if masks(defence) else view
    if defence == "sign" or isinstance(DEFENCES[defence], Quantised):
        seen = naive(view)  # its steps have no slope to follow; they are taken for noise
    return posterior_mean(net, seen, chest_prior(), shape=shape, generator=start, budget=WALKS,
                          noise_std=spread(defence, net, view))


def candidates_like(known: Halves, label: Tensor) -> Tensor:
    """The first :data:`CANDIDATES` private images of this label; the first one is the victim."""
    return known.private[known.private_labels == label][:CANDIDATES]


# --- A table ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """Scaled patients of one split, and how to go back to units.

    Shapes: private, public (n, columns) and labels (n,), from all four hospitals.
    """

    private: Tensor
    labels: Tensor
    public: Tensor
    by: scaling.Scaling

    def units(self, rows: Tensor) -> Tensor:
        """In units, float64; a gap is -99, so that it has to be recovered too."""
        return torch.tensor(scaling.unscale(rows.numpy(), self.by)).nan_to_num(nan=-99.0)


@functools.lru_cache(maxsize=2)
def case(seed: int) -> Case:
    """Half of the patients private, scaled by the statistics of the public half."""
    public, private = hospitals.train_test(hospitals.drop_duplicates(heart.load()), 0.5,
                                           np.random.default_rng(seed))
    by = scaling.fit(public)
    order = np.random.default_rng((seed, 1)).permutation(len(private))
    rows = scaling.scale(private.take(order), by)
    return Case(torch.tensor(rows.inputs), torch.tensor(rows.targets),
                torch.tensor(scaling.scale(public, by).inputs), by)


def run_table(defence: str, seed: int) -> dict:
    """Ten patients, each alone in an update: fields and records read, and who is named."""
    here = case(seed)
    net = mlp(generator(seed, "weights"), num_features=here.private.shape[1])
    if defence == "PRECODE":
        net = precode(net, size=SIZE, generator=generator(seed, "bottleneck"))
    guesses: dict[str, list[Tensor]] = {"naive": [], "adapted": []}
    named = control = 0
    for k in range(PATIENTS):
        record, label = here.private[k:k + 1], here.labels[k:k + 1]
        view = defended(defence, net, "3", record, label, seed, "table", k)
        guesses["naive"].append(single_record(net, naive(view)).guess)
        guesses["adapted"].append(rows_together(net, view).guess)
        others = here.private[(here.labels == label) & (torch.arange(len(here.labels)) != k)]
        alike = torch.cat([record, others[:CANDIDATES - 1]])
        named += nearest(defence, net, view, alike, label, "1")
        stranger = (here.labels == label).nonzero()[-1 - k]  # no candidate, of the same label
        other = defended(defence, net, "3", here.private[stranger], label, seed, "stranger", k)
        control += nearest(defence, net, other, alike, label, "1")
    truth = here.private[:PATIENTS]
    step = torch.tensor(heart.RESOLUTION).double() / 2
    outcome = {"named": named / PATIENTS, "control": control / PATIENTS}
    for who, rows in guesses.items():
        guess = torch.cat(rows)
        found = here.units(guess), here.units(truth)
        outcome |= {f"{who}_records": score.exact_match_rate(*found, step),
                    f"{who}_fields": score.field_match_rate(*found, step),
                    f"{who}_identified": score.identification_rate(
                        guess.clamp(-1e3, 1e3), truth, here.private[:200], distance="mse")}
    likeliest = score.likeliest_record(here.units(here.public), step).expand(PATIENTS, -1)
    guessed = score.field_match_rate(likeliest, here.units(truth), step)
    return {**outcome, "guessed_fields": guessed}


# --- The Gaussian mechanism -------------------------------------------------------------------


def run_gaussian(noise_multiplier: float, seed: int) -> dict:
    """How often the likeliest of 80 patients is the one whose clipped gradient was released."""
    here = case(seed)
    net = mlp(generator(seed, "weights"), num_features=here.private.shape[1])
    alike = here.private[here.labels == here.labels[0]][:CANDIDATES]
    rows = RecordLevel(1.0, noise_multiplier).clip(record_gradients(
        net, net.state_dict(), alike, here.labels[:1].expand(CANDIDATES)))
    # All that tells the candidates apart lies in the space that their gradients span.
    axes = torch.linalg.qr(rows.double().T).Q
    seen = rows.double() @ axes
    draw = generator(seed, "releases", str(noise_multiplier))
    sent = torch.randint(CANDIDATES, (TRIALS,), generator=draw)
    noise = torch.randn(TRIALS, axes.shape[1], generator=draw, dtype=torch.float64)
    gaps = torch.cdist(seen[sent] + noise_multiplier * noise, seen)
    return {"named": float((gaps.argmin(1) == sent).double().mean())}


# --- Utility ----------------------------------------------------------------------------------


def run_frontier(noise: str, mu: float, seed: int) -> dict:
    """Accuracy at home and everywhere of models for four hospitals, under one kind of noise."""
    train, test = sites(seed)
    model = logistic_regression(generator(seed, "model"),
                                num_features=next(iter(train.values())).inputs.shape[1])
    training = LocalTraining(RATE, mode="eval")
    states = {}
    if noise == "alone":
        for name, part in train.items():
            states[name] = list(fed_avg(model, [Hospital.of(name, part)], training, rounds=ROUNDS,
                                        seed=seed))[-1].after
    else:
        clinics = [clinic(name, part, noise, mu) for name, part in train.items()]
        after = list(fed_avg(model, clinics, training, rounds=ROUNDS, seed=seed))[-1].after
        states = dict.fromkeys(train, after)
    right = {(of, at): correct(model, states[of], test[at]) for of in test for at in test}
    everywhere = np.mean([np.concatenate([right[of, at] for at in test]).mean() for of in test])
    return {"at_home": float(np.concatenate([right[at, at] for at in test]).mean()),
            "everywhere": float(everywhere), "guessed": majority(train, test)}


@functools.lru_cache(maxsize=2)
def sites(seed: int) -> tuple[dict[str, Dataset], dict[str, Dataset]]:
    """Training and test patients of the four hospitals, scaled by the training ones."""
    train, test = hospitals.train_test(hospitals.drop_duplicates(heart.load()), TEST,
                                       np.random.default_rng(seed))
    return tuple(hospitals.by_site(part) for part in heart.impute_and_scale(train, test))


def clinic(name: str, part: Dataset, noise: str, mu: float):
    """A hospital that adds its part of the noise of a stack, or none."""
    if noise == "nowhere":
        return Hospital.of(name, part)
    # Noise at the server is simulated as equal parts: their sum is distributed alike.
    own = 0.5 if noise == "server" else share_of_noise(NOISY[noise], len(heart.SITES))
    return PrivateHospital(name, torch.tensor(part.inputs), torch.tensor(part.targets),
                           RecordLevel(MAX_GRAD_NORM, own * noise_for(mu, ROUNDS)))


def correct(model: nn.Module, state: Mapping[str, Tensor], part: Dataset) -> np.ndarray:
    """Whether each test patient is classified rightly."""
    logits = predict(model, state, torch.tensor(part.inputs))
    return (logits.argmax(1) == torch.tensor(part.targets)).double().numpy()


def majority(train: Mapping[str, Dataset], test: Mapping[str, Dataset]) -> float:
    """Accuracy of always answering the commonest class of all training patients."""
    joined = [torch.cat([torch.tensor(part.targets) for part in side.values()])
              for side in (test, train)]
    return majority_rate(*joined)


# --- From trials to evidence ------------------------------------------------------------------


UNITS = {
    "image": {"naive_uplift": "dB", "naive_identified": "share of records",
              "adapted_uplift": "dB", "adapted_identified": "share of records",
              "named": "share of records"},
    "table": {"naive_fields": "share of fields", "naive_records": "share of records",
              "naive_identified": "share of records", "adapted_fields": "share of fields",
              "adapted_records": "share of records", "adapted_identified": "share of records",
              "named": "share of records", "control": "share of records"},
    "gaussian": {"named": "share of records"},
    "frontier": {"at_home": "share of records", "everywhere": "share of records"},
}
STATEMENTS = {
    "uplift": "PSNR of the reconstruction less that of the better public mean image.",
    "identified": "Share of reconstructions nearer to their own record than to any other of 200.",
    "fields": "Share of fields read to within half the step in which they are written.",
    "records": "Share of records of which every field is read so.",
    "named": f"Share of records that are the likeliest of {CANDIDATES} of their label.",
    "control": "Share of updates of another patient, no candidate, that name the same candidate.",
    "at_home": "Accuracy of each hospital's model on its own test patients, all together.",
    "everywhere": "Accuracy of each hospital's model on all test patients, mean over hospitals.",
}
PLACE = {"alone": "each hospital alone", "nowhere": "federated, no privacy",
         **{place: f"federated, {stack.name}" for place, stack in NOISY.items()}}


def summarise(results: list[tuple[dict, dict]]) -> list[Evidence]:
    """Every score under every condition, and how far privacy is from the two ends."""
    groups = list(by_condition(results))
    items = [item(setting, outcomes, key) for setting, outcomes in groups
             for key in UNITS[setting["part"]]]
    frontier = [group for group in groups if group[0]["part"] == "frontier"]
    ends = {setting["noise"]: outcomes for setting, outcomes in frontier if not setting["mu"]}
    return items + [contrast(setting, outcomes, end, ends[end], key)
                    for setting, outcomes in frontier for end in ends
                    for key in UNITS["frontier"] if setting["noise"] != end]


def item(setting: dict, outcomes: list[dict], key: str) -> Evidence:
    """One score under one condition."""
    runs = tuple(outcome[key] for outcome in outcomes)
    unit = UNITS[setting["part"]][key]
    baseline, kind = guess(setting, outcomes, key)
    what = STATEMENTS[key.removeprefix("naive_").removeprefix("adapted_")]
    return statement(name_of(setting, key), what, runs, unit, baseline, kind, setting)


def guess(setting: dict, outcomes: list[dict], key: str) -> tuple[float, str]:
    """What needs no update, and who makes that guess."""
    if setting["part"] == "frontier":
        return (float(np.mean([outcome["guessed"] for outcome in outcomes])),
                "always the commonest class of all hospitals")
    if key in ("named", "control"):
        return 1 / CANDIDATES, "chance"
    if key.endswith("identified"):
        return 1 / 200, "chance"
    if key.endswith("fields"):
        return (float(np.mean([outcome["guessed_fields"] for outcome in outcomes])),
                "the likeliest value of each field in the public half")
    if key.endswith("records"):
        return 0.0, "nothing"
    return 0.0, "the better public mean image"


def contrast(setting: dict, outcomes: list[dict], end: str, others: list[dict],
             key: str) -> Evidence:
    """How much better than an end of the frontier, on the same patients, seed by seed."""
    runs = tuple(here[key] - there[key] for here, there in zip(outcomes, others, strict=True))
    return statement(f"{name_of(setting, key)}_over_{end}",
                     f"{STATEMENTS[key][:-1]}, less that of: {PLACE[end]}.", runs, "difference",
                     0.0, "no difference", setting)


def name_of(setting: dict, key: str) -> str:
    """Part, condition and score, joined into a name."""
    words = {"image": lambda: setting["defence"], "table": lambda: setting["defence"],
             "gaussian": lambda: f"{setting['noise_multiplier']:g}",
             "frontier": lambda: f"{setting['noise']}_{setting['mu']:g}"}
    return f"{setting['part']}_{slug(words[setting['part']]())}_{key}"


def slug(words: str) -> str:
    """Words as part of a name: ``"top-k (1 %)"`` is ``"top_k_1"``."""
    return "_".join("".join(c if c.isalnum() or c == "." else " " for c in words).split())


def statement(name: str, what: str, runs: tuple[float, ...], unit: str, baseline: float,
              kind: str, setting: dict) -> Evidence:
    """An ``Evidence`` with everything that a rerun needs."""
    part = setting["part"]
    interval, how, counts = spread_of(runs, unit, part)
    attacked = part != "frontier"
    data = radiographs() if part == "image" else heart.load()
    seeds = FRONTIER_SEEDS if part == "frontier" else SEEDS
    told = {k: v for k, v in setting.items() if k not in ("part", "seed")}
    bounded = part == "frontier" and setting["mu"] > 0
    extra = {"image": {"records": 1}, "table": {"records": PATIENTS},
             "gaussian": {"trials": TRIALS},
             "frontier": {"rounds": ROUNDS, "learning_rate": RATE, "delta": DELTA,
                          "max_grad_norm": MAX_GRAD_NORM}}[part]
    if bounded:
        extra |= {"epsilon": epsilon_of(setting["mu"], DELTA)}
    if part == "gaussian":
        extra |= {"mu": gaussian_mu(setting["noise_multiplier"]),
                  "ceiling": reconstruction_robustness(1 / CANDIDATES,
                                                       setting["noise_multiplier"])}
    return Evidence(
        name=name, statement=what, value=float(np.mean(runs)), unit=unit, interval=interval,
        interval_kind=how, baseline=baseline, baseline_kind=kind, runs=runs, seeds=seeds,
        data=data.provenance, data_sha256=data.sha256, scale="fast",
        version=leaklab.__version__, setting={"part": part, **told, **extra},
        view="server" if attacked else None, defence=defence_of(setting),
        privacy_unit="record" if attacked else None, **counts)


def spread_of(runs: tuple[float, ...], unit: str, part: str) -> tuple[tuple, str, dict]:
    """An interval that fits what was repeated, its name, and counts where there are any."""
    if part == "gaussian":
        trials = TRIALS * len(runs)
        successes = round(TRIALS * sum(runs))
        return (proportion_interval(successes, trials), "95 % Clopper-Pearson over releases",
                {"successes": successes, "trials": trials})
    if part == "frontier":
        return (mean_interval(runs, test_to_train=TEST / (1 - TEST)),
                "95 % corrected resampled t over splits", {})
    return (*interval_of(runs, unit), {})


def defence_of(setting: dict) -> str | None:
    """The defence as the grid reads it; ``None`` for none."""
    if setting["part"] == "gaussian":
        return f"clip to 1, noise multiplier {setting['noise_multiplier']:g}"
    if setting["part"] == "frontier":
        return PLACE[setting["noise"]] if setting["mu"] else None
    return None if setting["defence"] == "none" else setting["defence"]
