"""Study 3: records read exactly out of the gradient of a first dense layer.

    single     one step on one patient's record, which is divided out of the update; by table,
               learning rate, and stage of training
    batch      one step on a batch, read by SPEAR; by table, batch size, learning rate, and stage
    steps      several local steps: on one record, on four records, on batches of four
    observers  the first round of five hospitals, or of the four real ones, each with one batch:
               what the server, the server behind secure aggregation, and a client read
    counts     how many patients of a batch have each diagnosis

The tables are the diabetes patients of scikit-learn and the four hospitals of UCI heart disease. A
seed splits the patients into a private half, which hospitals train on, and a public half, from
which come the statistics for scaling and the guesses of someone who saw no update; it also draws
the weights and the victims. The learning rates and sizes were chosen before the first run.

A first run showed that the ratio claimed 7 records of 15,000 that were more than a twentieth of a
standard deviation off: of patients whom a trained model fitted so well that their gradient was
little but rounding. Its certificate now asks for as much resolution as that of SPEAR always did.
Nothing else was changed after seeing results.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

import leaklab
from leaklab.attacks import dense_layer, labels, spear
from leaklab.data import diabetes, heart, hospitals, scaling
from leaklab.data.dataset import Dataset
from leaklab.evidence import Evidence
from leaklab.federation import (
    Hospital,
    client_views,
    draw_batches,
    fed_avg,
    secure_aggregation_views,
    server_views,
    train_on,
    update_view,
)
from leaklab.metrics import mean_interval, proportion_interval
from leaklab.metrics import reconstruction as score
from leaklab.models import mlp
from leaklab.runtime import generator
from leaklab.updates import Knowledge, LocalTraining, Recovered, View
from studies import by_condition

SEEDS = tuple(range(20))
TABLES = ("diabetes", *heart.SITES)
WIDTH = 256  # neurons
LEARNING_RATES = (1.0, 0.1, 0.01)
USUAL = 0.1
EARLIER = LocalTraining(USUAL, local_steps=200, batch_size=32)  # behind a trained model
VICTIMS = 25  # patients a seed, each alone in an update
BATCHES = 2  # a seed
DRAWS = 2**16  # of SPEAR's search, a quarter of its default
COUNTED = 10  # batches a seed whose diagnoses are counted
MISSING = -99.0  # stands for no value, so that a gap has to be recovered too
RECORDS = ("one", "four", "batches of four")  # what several local steps train on
ANOTHER = 0.05  # standard deviations; two patients of a table differ by 0.18 or more in some column


def trials() -> list[dict]:
    """Every setting of the study, for every seed."""
    settings = [{"part": "single", "table": table, "rate": rate, "trained": trained}
                for table in TABLES for rate in LEARNING_RATES for trained in (False, True)]
    settings += [{"part": "batch", "table": table, "size": size, "rate": USUAL, "trained": trained}
                 for table in TABLES for trained in (False, True)
                 for size in ((2, 4, 6, 8, 10, 12) if table == "diabetes" else (2, 4, 8, 12))
                 if table == "diabetes" or size < 12 or not trained]
    settings += [{"part": "batch", "table": "diabetes", "size": size, "rate": rate,
                  "trained": False} for size in (4, 8) for rate in (1.0, 0.01)]
    settings += [{"part": "steps", "records": records, "steps": steps, "rate": rate}
                 for records in RECORDS for steps in (1, 5, 20) for rate in (USUAL, 0.01)
                 if (records, steps) != ("batches of four", 1)]
    settings += [{"part": "observers", "table": table, "size": size}
                 for table in ("diabetes", "heart") for size in (1, 2, 4)]
    settings += [{"part": "counts", "table": table, "size": size, "trained": trained}
                 for table in TABLES for size in (4, 16, 48) for trained in (False, True)]
    return [{**setting, "seed": seed} for setting in settings for seed in SEEDS]


def run(setting: Mapping) -> dict:
    """Measure one trial."""
    parts = {"single": run_single, "batch": run_batch, "steps": run_steps,
             "observers": run_observers, "counts": run_counts}
    return parts[setting["part"]](**{k: v for k, v in setting.items() if k != "part"})


# --- Patients and models ----------------------------------------------------------------------


@functools.cache
def whole(table: str) -> Dataset:
    """All patients of ``diabetes``, or of the four hospitals, in real units; nobody twice."""
    return diabetes.load() if table == "diabetes" else hospitals.drop_duplicates(heart.load())


@dataclass(frozen=True)
class Half:
    """Patients of one split. inputs (n, columns) scaled, targets (n,), real (n, fields) in units
    as they enter the model, with :data:`MISSING` for no value. A gap in a column that has none in
    the public half is filled by the mean before, and nobody can read it."""

    inputs: Tensor
    targets: Tensor
    real: Tensor


@dataclass(frozen=True)
class Case:
    """One hospital, and what the public knows; ``step`` is half the resolution of each field."""

    private: Half
    public: Half
    by: scaling.Scaling
    step: Tensor

    def units(self, rows: Tensor) -> Tensor:
        """Scaled rows (n, columns) in real units (n, fields)."""
        return in_units(scaling.unscale(rows.detach().numpy(), self.by))


@functools.cache
def case(table: str, seed: int) -> Case:
    """Split ``seed`` of a table; of a heart-disease hospital its own patients, scaled by the
    statistics of the public halves of all four, as no one else knows a cholesterol in Zurich.
    ``"heart"`` is all four together."""
    public, private = hospitals.train_test(whole(table), 0.5, np.random.default_rng(seed))
    by = scaling.fit(public)
    step = torch.tensor(diabetes.RESOLUTION if table == "diabetes" else heart.RESOLUTION) / 2
    return Case(half(of(private, table), by), half(of(public, table), by), by, step.double())


def of(patients: Dataset, table: str) -> Dataset:
    """Those of the hospital ``table``, or all."""
    return patients.take(patients.sites == table) if table in heart.SITES else patients


def half(patients: Dataset, by: scaling.Scaling) -> Half:
    """The patients as an attacker and a model see them."""
    inputs = scaling.scale(patients, by).inputs
    return Half(torch.tensor(inputs), torch.tensor(patients.targets),
                in_units(scaling.unscale(inputs, by)))


def in_units(rows: np.ndarray) -> Tensor:
    """Rows in units as float64, a gap as :data:`MISSING`."""
    return torch.tensor(rows).double().nan_to_num(nan=MISSING)


@functools.cache
def model(table: str, trained: bool, seed: int) -> nn.Sequential:
    """A new network, or one that the hospital has trained for 200 steps."""
    patients = case(table, seed).private
    net = mlp(generator(seed, "weights"), num_features=patients.inputs.shape[1], width=WIDTH)
    if trained:
        after = train_on(net, patients.inputs, patients.targets, EARLIER,
                         generator=generator(seed, "earlier")).after
        net.load_state_dict(after)
    return net


def draw(n: int, *key: object) -> Tensor:
    """The numbers below ``n`` in an order that depends on ``key``."""
    return torch.randperm(n, generator=generator(*key))


def seen(net: nn.Module, patients: Half, chosen: Tensor, training: LocalTraining,
         seed: int) -> View:
    """What the server sees of training on the patients ``chosen``."""
    update = train_on(net, patients.inputs[chosen], patients.targets[chosen], training,
                      generator=generator(seed, "local"))
    return update_view(update, Knowledge(training))


def read(net: nn.Module, view: View, *key: object, batch_size: int | None = None) -> Recovered:
    """The batch behind ``view``, by SPEAR."""
    return spear.batch(net, view, generator=generator("search", *key), draws=DRAWS,
                       batch_size=batch_size)


# --- Scores -----------------------------------------------------------------------------------


def judge(found: Recovered, chosen: Tensor, here: Case) -> dict[str, float]:
    """How a guess of the records ``chosen`` fares; numbers are sums over records.

    exact       fields within half their resolution, all of them
    fields      share of fields so
    certified   the attacker claims it
    false       claimed, though it is another record: more than :data:`ANOTHER` off somewhere
    labels      diagnosis right, where the attack gives one
    """
    guess, truth = found.guess, here.private.inputs[chosen]
    if len(guess) != len(truth):
        return {"exact": 0, "fields": 0, "labels": 0, "certified": int(found.certificate.sum()),
                "false": int(found.certificate.sum())}
    order = score.match(guess.clamp(-1e6, 1e6), truth)
    guess, certified = guess[order], found.certificate[order]
    real = here.units(guess)
    within = (real - here.private.real[chosen]).abs() <= here.step
    near = (guess - truth).abs().amax(1) < ANOTHER
    named = found.labels is not None and found.labels[order] == here.private.targets[chosen]
    return {"exact": int(within.all(1).sum()), "fields": float(within.double().mean(1).sum()),
            "certified": int(certified.sum()), "false": int((certified & ~near).sum()),
            "labels": int(torch.as_tensor(named).sum())}


def total(parts: Sequence[dict], records: int) -> dict[str, float]:
    """Shares of all ``records`` from the sums of several guesses; ``false`` stays a count."""
    sums = {key: sum(part[key] for part in parts) for key in parts[0]}
    return {key: value if key == "false" else value / records for key, value in sums.items()}


def guesses(chosen: Tensor, here: Case) -> dict[str, float]:
    """How two answers fare that need no update: the likeliest value of each field, and the public
    record that is nearest to the victim, which only an oracle can pick."""
    truth, public = here.private.real[chosen], here.public
    typical = score.likeliest_record(public.real, here.step, len(truth))
    nearest = here.units(score.nearest_public(here.private.inputs[chosen], public.inputs))
    return {f"{name}_{how}": rate(guess, truth, here.step)
            for name, guess in (("typical", typical), ("nearest", nearest))
            for how, rate in (("exact", score.exact_match_rate),
                              ("fields", score.field_match_rate))}


# --- The parts --------------------------------------------------------------------------------


def run_single(table: str, rate: float, trained: bool, seed: int) -> dict:
    """Divide single records out of updates; control: read the update of the next patient."""
    here, net = case(table, seed), model(table, trained, seed)
    chosen = draw(len(here.private.targets), seed, "victims")[:VICTIMS]
    found = [dense_layer.single_record(net, seen(net, here.private, one[None],
                                                 LocalTraining(rate), seed)) for one in chosen]
    own = [judge(f, one[None], here) for f, one in zip(found, chosen, strict=True)]
    other = [judge(f, one[None], here) for f, one in zip(found, chosen.roll(1), strict=True)]
    control = {f"control_{k}": v for k, v in total(other, len(chosen)).items()
               if k in ("exact", "fields")}
    commonest = here.private.targets[chosen] == here.public.targets.mode().values
    return {**total(own, len(chosen)), **control, **guesses(chosen, here),
            "commonest": float(commonest.double().mean())}


def run_batch(table: str, size: int, rate: float, trained: bool, seed: int) -> dict:
    """Read whole batches by SPEAR; each has weights of its own unless the model is trained."""
    here, found = case(table, seed), []
    order = draw(len(here.private.targets), seed, "batches", size)
    batches = order[:BATCHES * size].split(size)
    for number, chosen in enumerate(batches):
        net = model(table, True, seed) if trained else mlp(
            generator(seed, "weights", number), num_features=here.private.inputs.shape[1],
            width=WIDTH)
        view = seen(net, here.private, chosen, LocalTraining(rate), seed)
        found.append(judge(read(net, view, seed, number), chosen, here))
    return {**total(found, size * len(batches)), **guesses(torch.cat(batches), here),
            "whole": sum(part["exact"] == size for part in found),
            "claimed": sum(part["certified"] == size for part in found), "batches": len(batches)}


def run_steps(records: str, steps: int, rate: float, seed: int) -> dict:
    """Both attacks on several local steps of diabetes patients from a new model: all steps on one
    record or on four, or each on another four. The observer knows how many records there are."""
    here, net = case("diabetes", seed), model("diabetes", False, seed)
    held = {"one": 1, "four": 4}.get(records, 4 * steps)
    training = LocalTraining(rate, local_steps=steps, batch_size=min(held, 4))
    chosen = draw(len(here.private.targets), seed, "steps")[:held]
    view = seen(net, here.private, chosen, training, seed)
    ratio = dense_layer.single_record(net, view)
    nearest = (here.private.inputs[chosen] - ratio.guess).square().sum(1).argmin()
    batch = read(net, view, seed, batch_size=held)
    return {"records": held, **{f"ratio_{key}": value for key, value in
                                judge(ratio, chosen[nearest][None], here).items()},
            **{f"spear_{key}": value for key, value in judge(batch, chosen, here).items()}}


def run_observers(table: str, size: int, seed: int) -> dict:
    """The first round of several hospitals with one batch each, as three observers read it, who
    know the size of a batch. Sums over all records behind the views of an observer."""
    here, net = case(table, seed), model(table, False, seed)
    sites = of_hospitals(table, seed)
    clinics = [Hospital(name, here.private.inputs[rows], here.private.targets[rows])
               for name, rows in sites.items()]
    training = LocalTraining(USUAL, batch_size=size)
    (step,) = fed_avg(net, clinics, training, rounds=1, seed=seed)
    drawn = {name: rows[draw_batches(len(rows), training, generator(seed, 1, name))[0]]
             for name, rows in sites.items()}
    known, found = Knowledge(training), {}
    views = {"server": server_views(step, known), "sum": secure_aggregation_views(step, known),
             "client": client_views(step, clinics[0].name, known)}
    for observer, shown in views.items():
        behind = [torch.cat([drawn[name] for name in view.contributors]) for view in shown]
        parts = [judge(read(net, view, seed, batch_size=len(rows)), rows, here)
                 for view, rows in zip(shown, behind, strict=True)]
        found[f"{observer}_records"] = sum(map(len, behind))
        found |= {f"{observer}_{key}": sum(part[key] for part in parts) for key in parts[0]}
    return found


def of_hospitals(table: str, seed: int) -> dict[str, Tensor]:
    """The rows of the private half that each hospital holds: five alike, or the four real ones."""
    if table == "diabetes":
        n = len(case(table, seed).private.targets) // 5
        rows = draw(5 * n, seed, "hospitals").split(n)
        return {f"Hospital {k + 1}": part for k, part in enumerate(rows)}
    _, private = hospitals.train_test(whole(table), 0.5, np.random.default_rng(seed))
    return {site: torch.tensor(np.flatnonzero(private.sites == site)) for site in heart.SITES}


def run_counts(table: str, size: int, trained: bool, seed: int) -> dict:
    """Count the diagnoses of batches, and guess them from the share in the public half."""
    here, net = case(table, seed), model(table, trained, seed)
    expected = int((here.public.targets.double().mean() * size).round())
    found: dict[str, list[float]] = {key: [] for key in ("right", "guess", "off", "guess_off")}
    for number in range(COUNTED):
        chosen = draw(len(here.private.targets), seed, "counts", number)[:size]
        truth = int(here.private.targets[chosen].sum())
        view = seen(net, here.private, chosen, LocalTraining(USUAL), seed)
        counts = labels.label_counts(net, view, batch_size=size, auxiliary=here.public.inputs)
        off = abs(int(counts.guess[1]) - truth)
        for key, value in (("right", off == 0), ("guess", expected == truth), ("off", off),
                           ("guess_off", abs(expected - truth))):
            found[key].append(value)
    return {key: float(np.mean(values)) for key, values in found.items()}


# --- From trials to evidence ------------------------------------------------------------------


def summarise(results: list[tuple[dict, dict]]) -> list[Evidence]:
    """One statement a condition and quantity, from the trials of all seeds."""
    describe = {"single": describe_single, "batch": describe_batch, "steps": describe_steps,
                "observers": describe_observers, "counts": describe_counts}
    return [item for setting, outcomes in by_condition(results)
            for item in describe[setting["part"]](setting, outcomes)]


TYPICAL = "the likeliest value of each field in the public half"


def column(outcomes: list[dict], key: str) -> np.ndarray:
    """One number of every trial."""
    return np.array([outcome[key] for outcome in outcomes], dtype=float)


def describe_single(setting: dict, outcomes: list[dict]) -> Iterator[Evidence]:
    """Single records: read, claimed, and beside them guesses and the control."""
    late = "_trained" * setting["trained"]
    stem, where = f"single_{setting['table']}_rate_{setting['rate']:g}{late}", {
        **setting, "records": VICTIMS, "batch_size": 1, "width": WIDTH}

    def of_records(quantity: str, key: str, statement: str, **more) -> Evidence:
        shares = column(outcomes, key) / (VICTIMS if key == "false" else 1)
        return proportion(f"{stem}_{quantity}", statement, shares, VICTIMS, where, **more)

    yield of_records("exact", "exact", "Share of patients of whom every field was read.",
                     baseline=(column(outcomes, "typical_exact").mean(), TYPICAL))
    yield make(f"{stem}_fields", "Share of all fields that were read.", column(outcomes, "fields"),
               where, baseline=(column(outcomes, "typical_fields").mean(), TYPICAL))
    yield of_records("certified", "certified", "Share of patients whose record the attacker "
                     "claims to have read.")
    yield of_records("false", "false", "Share of patients for whom it claims another record.")
    yield of_records("label", "labels", "Share of patients whose diagnosis was read.",
                     baseline=(column(outcomes, "commonest").mean(),
                               "the commonest diagnosis of the public half"))
    if (setting["rate"], setting["trained"]) == (USUAL, False):
        yield of_records("control_exact", "control_exact", "Share of patients of whom every "
                         "field is right if the update comes from another patient.")
        for key, whose in (("control", "the record of another patient"),
                           ("nearest", "the nearest public record, which takes an oracle")):
            yield make(f"{stem}_{key}_fields", f"Share of fields that are right in {whose}.",
                       column(outcomes, f"{key}_fields"), where)


def describe_batch(setting: dict, outcomes: list[dict]) -> Iterator[Evidence]:
    """Batches: read as a whole, by record and by field, claimed, and claimed wrongly."""
    late = "_trained" * setting["trained"]
    stem = f"batch_{setting['table']}_{setting['size']:02d}_rate_{setting['rate']:g}{late}"
    where = {**setting, "batches": BATCHES, "draws": DRAWS, "width": WIDTH}
    for key, statement in (("whole", "Share of batches of which every record was read."),
                           ("claimed", "Share of batches that the attacker claims to have read.")):
        yield proportion(f"{stem}_{key}", statement, column(outcomes, key) / BATCHES, BATCHES,
                         where)
    yield proportion(f"{stem}_false", "Share of batches claimed of which a record is another.",
                     np.minimum(column(outcomes, "false"), 1) / BATCHES, BATCHES, where)
    for key, what in (("exact", "records of which every field"), ("fields", "fields that")):
        verb = "was" if key == "exact" else "were"
        yield make(f"{stem}_{key}", f"Share of {what} {verb} read.", column(outcomes, key), where,
                   baseline=(column(outcomes, f"typical_{key}").mean(), TYPICAL))


def describe_steps(setting: dict, outcomes: list[dict]) -> Iterator[Evidence]:
    """Both attacks after several local steps."""
    stem = (f"steps_{setting['records'].replace(' ', '_')}_{setting['steps']:02d}"
            f"_rate_{setting['rate']:g}")
    where = {**setting, "number": int(outcomes[0]["records"]), "width": WIDTH, "draws": DRAWS}
    for attack, records in (("ratio", 1), ("spear", outcomes[0]["records"])):
        for key, statement in (
                ("exact", "Share of runs in which all records sought were read."),
                ("certified", "Share of runs in which the attacker claims it.")):
            done = column(outcomes, f"{attack}_{key}") == records
            yield proportion(f"{stem}_{attack}_{key}", statement, done, 1, where)
        yield proportion(f"{stem}_{attack}_false", "Share of runs with a record claimed that is "
                         "another.", column(outcomes, f"{attack}_false") > 0, 1, where)


def describe_observers(setting: dict, outcomes: list[dict]) -> Iterator[Evidence]:
    """What the server, the sum and a client give away of one round."""
    for observer in ("server", "sum", "client"):
        stem = f"observers_{setting['table']}_{setting['size']}_{observer}"
        records = int(outcomes[0][f"{observer}_records"])
        where = {**setting, "records": records, "rate": USUAL, "width": WIDTH, "draws": DRAWS}
        for key, statement in (
                ("exact", "Share of rounds of which every record behind the view was read."),
                ("certified", "Share of rounds of which the attacker claims every record.")):
            done = column(outcomes, f"{observer}_{key}") == records
            yield proportion(f"{stem}_{key}", statement, done, 1, where, view=observer)
        yield proportion(f"{stem}_false", "Share of rounds with a record claimed that is another.",
                         column(outcomes, f"{observer}_false") > 0, 1, where, view=observer)
        yield make(f"{stem}_records", "Share of records behind the view that were read.",
                   column(outcomes, f"{observer}_exact") / records, where, view=observer)


def describe_counts(setting: dict, outcomes: list[dict]) -> Iterator[Evidence]:
    """Counts of a diagnosis: how often right, and how much oftener than the guess."""
    stem = f"counts_{setting['table']}_{setting['size']:02d}" + "_trained" * setting["trained"]
    where = {**setting, "batches": COUNTED, "rate": USUAL, "width": WIDTH}
    guess = "the count that the public share leads one to expect"
    yield make(f"{stem}_right", "Share of batches whose diagnoses were counted rightly.",
               column(outcomes, "right"), where,
               baseline=(column(outcomes, "guess").mean(), guess))
    yield make(f"{stem}_gain", "How much oftener the count is right than the guess.",
               column(outcomes, "right") - column(outcomes, "guess"), where,
               unit="difference in share")
    yield make(f"{stem}_off", "Patients by which the count is off.", column(outcomes, "off"),
               where, unit="patients", baseline=(column(outcomes, "guess_off").mean(), guess))


def proportion(name: str, statement: str, shares: np.ndarray, trials: int, setting: dict,
               **more) -> Evidence:
    """Evidence from shares of ``trials`` draws a seed.

    Draws are taken as independent: further patients, batches and weights from the same table.
    """
    item = make(name, statement, shares, setting, **more)
    successes = round(float(np.sum(shares)) * trials)
    drawn = trials * len(shares)
    return replace(item, successes=successes, trials=drawn,
                   interval=proportion_interval(successes, drawn),
                   interval_kind="95 % Clopper-Pearson over draws")


def make(name: str, statement: str, runs, setting: dict, *, unit: str = "share",
         baseline: tuple[float, str] = (0.0, "nothing"), view: str = "server") -> Evidence:
    """Evidence from one number a run.

    Runs deal the same patients anew: the interval is over deals and weights, not over patients.
    """
    table = setting.get("table", "diabetes")
    data, runs = whole(table), tuple(float(value) for value in runs)
    interval, kind = mean_interval(runs), "95 % t over deals of the same patients"
    if unit == "share" and set(runs) in ({0.0}, {1.0}):  # a t interval would have no width
        interval = proportion_interval(round(sum(runs)), len(runs))
        kind = "95 % Clopper-Pearson over deals"
    elif unit == "share":
        interval, kind = tuple(np.clip(interval, 0, 1).tolist()), f"{kind}, cut to 0 to 1"
    return Evidence(
        name=name, statement=statement, value=float(np.mean(runs)), unit=unit,
        interval=interval, interval_kind=kind,
        baseline=float(baseline[0]), baseline_kind=baseline[1], runs=runs, seeds=SEEDS,
        data=data.provenance, data_sha256=data.sha256, scale="fast", version=leaklab.__version__,
        setting=setting, view=view, privacy_unit="patient",
        clusters=len(of(data, table)))
