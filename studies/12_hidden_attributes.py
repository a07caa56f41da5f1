"""Study 12: what an update says of a patient's missing entry, of a hospital, and of a class.

    patient    hospitals in Cleveland take part in one round, and an observer fills in the
               diagnosis, sex, or exercise-induced angina (exang) of a patient whose record it
               knows but for that. By training, round, hospital size and observer; the same for
               patients who took no part. And the share of disease of each hospital, as in study 2
    hospital   whether most patients of a hospital are women: hospitals of 20 are invented from
               public patients to learn from, and others from private patients to judge. With sex
               among the inputs and without; patients dealt so that the share of disease follows the
               share of women, or is one half for either sex; or with the columns evened as well, so
               that they have the same means for both sexes. By training and stage
    class      the input that a released model takes for a class: softmax regression and a CNN on
               normal and pneumonia radiographs, and softmax regression with a class for each of
               twenty patients. From black, as published, or from the mean of public images

Whoever never saw an update fills in an entry by logistic regression on the public patients, or by
their commonest value; the better of the two on the patients judged is the guess that counts, which
only an oracle could pick. A seed splits the patients, deals them, and draws weights and batches.
Sizes, rates, ridge and the number of components were chosen on seeds 100 to 103 or before.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

import leaklab
from leaklab.attacks import labels
from leaklab.attacks.attributes import candidates, infer_attribute
from leaklab.attacks.class_inversion import invert_class
from leaklab.attacks.membership.updates import glir, update_cosine, whitened
from leaklab.attacks.properties import invented_updates, property_classifier
from leaklab.data import heart, hospitals, radiology, scaling
from leaklab.data.dataset import Dataset
from leaklab.evidence import Evidence
from leaklab.federation import (
    PUBLIC,
    SERVER,
    SERVER_BEHIND_SECURE_AGGREGATION,
    Hospital,
    fed_avg,
    train_on,
)
from leaklab.metrics.reconstruction import identified
from leaklab.metrics.roc import auc
from leaklab.models import mlp, predict, small_cnn
from leaklab.runtime import generator
from leaklab.updates import Knowledge, LocalTraining, View, weighted_mean
from studies import by_condition, interval_of

SEEDS = tuple(range(12))
WIDTH = 64  # neurons
ATTRIBUTES = {"diagnosis": None, "sex": 1, "exang": 8}  # and their columns
OUTSIDE = 0.27  # share of Cleveland's patients who are public
METHODS = ("whitened", "cosine", "glir")
PASSES = {"one step": 0, "one pass": 1, "five passes": 5}
EARLIER = 9  # rounds before a late one
SIZE = 20  # patients of an invented hospital
WOMEN = (4, 6, 8, 12, 14, 16)  # of them
INVENTED, JUDGED, SHUFFLES = 300, 200, 5
WALK = LocalTraining(0.05, local_steps=15, batch_size=8)
IMAGES, FACES, COPIES = 1200, 20, 10  # radiographs; patients who are classes, noisy copies of each
SHARP = 0.05  # standard deviation of that noise


def trials() -> list[dict]:
    """Every setting of the study, for every seed."""
    settings = [{"part": "patient", "training": training, "stage": stage, "hospitals": 5,
                 "observer": "server"} for training in PASSES for stage in ("new", "late")
                if (training, stage) != ("one step", "late")]
    settings += [{"part": "patient", "training": "one pass", "stage": "new", "hospitals": number,
                  "observer": "server"} for number in (20, 10, 2, 1)]
    settings += [{"part": "patient", "training": "one pass", "stage": stage, "hospitals": 5,
                  "observer": "sum"} for stage in ("new", "late")]
    settings += [{"part": "hospital", "inputs": inputs, "deal": deal, "stage": stage,
                  "training": training}
                 for inputs, deal in (("sex", "natural"), ("sex", "balanced"), ("rest", "natural"),
                                      ("rest", "balanced"), ("evened rest", "balanced"))
                 for stage, training in (("new", "one step"), ("new", "walk"), ("late", "walk"))]
    settings += [{"part": "class", "model": model, "start": start}
                 for model in ("softmax", "cnn", "patients") for start in ("black", "mean")]
    return [{**setting, "seed": seed} for setting in settings for seed in SEEDS]


def run(setting: Mapping) -> dict:
    """Measure one trial."""
    parts = {"patient": run_patient, "hospital": run_hospital, "class": run_class}
    return parts[setting["part"]](**{k: v for k, v in setting.items() if k != "part"})


# --- A patient --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Group:
    """Some patients: inputs (n, ...) as the model takes them, targets (n,)."""

    inputs: Tensor
    targets: Tensor

    def take(self, index: Tensor) -> Group:
        return Group(self.inputs[index], self.targets[index])

    def truth(self, attribute: str) -> Tensor:
        """The entry sought, 0 or 1; a scaled column of two values lies on both sides of 0."""
        column = ATTRIBUTES[attribute]
        return self.targets if column is None else (self.inputs[:, column] > 0).long()

    def rest(self, attribute: str) -> np.ndarray:
        """All that is known of the patients but that entry."""
        column = ATTRIBUTES[attribute]
        if column is None:
            return self.inputs.numpy()
        return np.column_stack([np.delete(self.inputs.numpy(), column, 1), self.targets])


def of(dataset: Dataset) -> Group:
    """The patients of ``dataset``."""
    return Group(torch.tensor(dataset.inputs), torch.tensor(dataset.targets))


@functools.cache
def table() -> Dataset:
    """All patients of Cleveland and Budapest without a gap, nobody twice."""
    whole = heart.load()
    here = np.isin(whole.sites, ("cleveland", "hungarian")) & ~np.isnan(whole.inputs).any(1)
    return hospitals.drop_duplicates(whole.take(here))


@functools.cache
def cleveland(seed: int) -> dict[str, Group]:
    """``members``, ``strangers`` who are like them but take no part, and ``public`` patients."""
    rng = np.random.default_rng(seed)
    patients = hospitals.by_site(table())["cleveland"]
    private, public = hospitals.train_test(patients, OUTSIDE, rng)
    members, strangers = hospitals.train_test(private, 0.5, rng)
    by = scaling.fit(public)
    return {name: of(scaling.scale(part, by)) for name, part in
            (("members", members), ("strangers", strangers), ("public", public))}


def training_of(name: str, records: int) -> LocalTraining:
    """One step on all records, or passes through them in batches of eight."""
    if not PASSES[name]:
        return LocalTraining(0.5)
    return LocalTraining(0.05, local_steps=PASSES[name] * -(-records // 8), batch_size=8)


def round_of(training: str, stage: str, number: int, seed: int) -> list[tuple[View, Group]]:
    """What the server sees of ``number`` hospitals in one round, and the patients behind it."""
    members = cleveland(seed)["members"]
    order = torch.randperm(len(members.targets), generator=generator(seed, "deal"))
    parts = [members.take(order[k::number]) for k in range(number)]
    net = network(seed)
    if stage == "late":
        clinics = [Hospital(f"H{k}", part.inputs, part.targets) for k, part in enumerate(parts)]
        *_, last = fed_avg(net, clinics, training_of(training, len(clinics[0])), rounds=EARLIER,
                           seed=seed)
        net.load_state_dict(last.after)
    seen = []
    for k, part in enumerate(parts):
        local = training_of(training, len(part.targets))
        update = train_on(net, part.inputs, part.targets, local,
                          generator=generator(seed, "local", k))
        seen.append((View(SERVER, "update", update.before, update.after, (f"H{k}",),
                          (update.num_examples,), Knowledge(local)), part))
    return seen


def network(seed: int, features: int = len(heart.FEATURES)) -> nn.Sequential:
    """One hidden layer, new."""
    return mlp(generator(seed, "weights"), num_features=features, width=WIDTH)


def summed(seen: list[tuple[View, Group]]) -> list[tuple[View, Group]]:
    """The same round behind secure aggregation."""
    views, parts = zip(*seen, strict=True)
    after = weighted_mean([view.after for view in views], [view.weights[0] for view in views])
    everyone = Group(torch.cat([part.inputs for part in parts]),
                     torch.cat([part.targets for part in parts]))
    names = tuple(name for view in views for name in view.contributors)
    return [(replace(views[0], observer=SERVER_BEHIND_SECURE_AGGREGATION, artefact="sum",
                     after=after, contributors=names, weights=None), everyone)]


def run_patient(training: str, stage: str, hospitals: int, observer: str, seed: int) -> dict:
    """Fill in each attribute of members and strangers, with the update and without."""
    seen, found = round_of(training, stage, hospitals, seed), {}
    seen = seen if observer == "server" else summed(seen)
    methods = METHODS if (hospitals, observer) == (5, "server") else ("whitened",)
    for attribute in ATTRIBUTES:
        for method in methods:
            for who, right in attacked(seen, attribute, method, seed).items():
                found[f"{attribute}_{method}_{who}"] = right
        found |= {f"{attribute}_{name}": right
                  for name, right in filled_in(attribute, seed).items()}
    outside = cleveland(seed)["public"]
    true = [float(part.targets.double().mean()) for _, part in seen]
    net, prior = network(seed), float(outside.targets.double().mean())
    readings = {"read": labels.class_shares, "asked": labels.asked_shares}
    for name, read in readings.items():
        shares = [float(read(net, view, auxiliary=outside.inputs).guess[1]) for view, _ in seen]
        found[f"share_{name}_error"] = float(np.abs(np.subtract(shares, true)).mean())
    found["share_prior_error"] = float(np.abs(np.subtract(prior, true)).mean())
    return {**found, **asked(seen, seed)}


def attacked(seen: list[tuple[View, Group]], attribute: str, method: str,
             seed: int) -> dict[str, float]:
    """How often the entry is right, of those behind each view and of strangers to all."""
    outside, strangers = cleveland(seed)["public"], cleveland(seed)["strangers"]
    column, net = ATTRIBUTES[attribute], network(seed)
    values = (0, 1) if column is None else outside.inputs[:, column].unique().tolist()
    right: dict[str, list[Tensor]] = {"members": [], "strangers": []}
    for view, part in seen:
        score = {"cosine": update_cosine, "whitened": whitened,
                 "glir": partial(glir, records=len(part.targets))}[method]
        both = Group(torch.cat([part.inputs, strangers.inputs]),
                     torch.cat([part.targets, strangers.targets]))
        guess = infer_attribute(
            net, view, *candidates(both.inputs, both.targets, values, column=column), score=score,
            public=None if method == "cosine" else (outside.inputs, outside.targets)).guess
        hits = (guess == both.truth(attribute)).double()
        right["members"].append(hits[:len(part.targets)])
        right["strangers"].append(hits[len(part.targets):])
    return {who: float(torch.cat(parts).mean()) for who, parts in right.items()}


def filled_in(attribute: str, seed: int) -> dict[str, float]:
    """How often someone is right who saw no update: by regression, by the commonest value."""
    here = cleveland(seed)
    public = here["public"]
    model = LogisticRegression(max_iter=1000).fit(public.rest(attribute), public.truth(attribute))
    commonest = public.truth(attribute).mode().values
    found = {}
    for who in ("members", "strangers"):
        truth = here[who].truth(attribute)
        found[f"imputed_{who}"] = float(model.score(here[who].rest(attribute), truth))
        found[f"commonest_{who}"] = float((truth == commonest).double().mean())
    return found


def asked(seen: list[tuple[View, Group]], seed: int) -> dict[str, float]:
    """How often the model that came back is right on the diagnosis, plainly asked."""
    groups = {"members": [part for _, part in seen],
              "strangers": [cleveland(seed)["strangers"]] * len(seen)}
    return {f"diagnosis_asked_{who}": float(torch.cat(
        [(predict(network(seed), view.after, part.inputs).argmax(1) == part.targets).double()
         for (view, _), part in zip(seen, parts, strict=True)]).mean())
        for who, parts in groups.items()}


# --- A hospital -------------------------------------------------------------------------------


def run_hospital(inputs: str, deal: str, stage: str, training: str, seed: int) -> dict:
    """Learn the sign of a majority of women from invented hospitals, and judge others."""
    local = LocalTraining(0.5) if training == "one step" else WALK
    halves = hospitals.train_test(table(), 0.5, np.random.default_rng(seed))
    by, features, net = scaling.fit(halves[1]), {}, None
    for side, half, number in zip(("judged", "learnt"), halves, (JUDGED, INVENTED), strict=True):
        women = torch.tensor(half.inputs[:, ATTRIBUTES["sex"]] == 0)
        group = shown(of(scaling.scale(half, by)), women, inputs)
        if net is None:
            net = started(group, stage, seed)
        members, most = zip(*(dealt(women.numpy(), half.targets, deal, rng)
                              for rng in streams(seed, side, number)), strict=True)
        members = torch.tensor(np.array(members))
        features[side] = {
            "update": invented_updates(net, group.inputs, group.targets, members, local,
                                       generator(seed, side)),
            "means": members.double() @ group.inputs.double() / SIZE,
            "share": members.double() @ group.targets.double()[:, None] / SIZE,
            "most": torch.tensor(most)}
    return judged(features["learnt"], features["judged"], seed)


def shown(group: Group, women: Tensor, inputs: str) -> Group:
    """The columns that the model is trained on: all, all but sex, or those with the means of each
    sex and diagnosis taken out."""
    if inputs == "sex":
        return group
    rest = np.delete(group.inputs.numpy(), ATTRIBUTES["sex"], 1)
    if inputs == "evened rest":
        for kind in range(4):
            rows = ((2 * women + group.targets) == kind).numpy()
            rest[rows] -= rest[rows].mean(0)
    return Group(torch.tensor(rest), group.targets)


def started(group: Group, stage: str, seed: int) -> nn.Sequential:
    """The model sent out: new, or trained on all private patients."""
    net = network(seed, group.inputs.shape[1])
    if stage == "late":
        earlier = LocalTraining(0.05, local_steps=200, batch_size=32)
        net.load_state_dict(train_on(net, group.inputs, group.targets, earlier,
                                     generator=generator(seed, "earlier")).after)
    return net


def streams(seed: int, side: str, number: int) -> Iterator[np.random.Generator]:
    """A stream of random numbers for each hospital."""
    key = {"judged": 0, "learnt": 1}[side]
    return (np.random.default_rng((seed, key, k)) for k in range(number))


def dealt(women: np.ndarray, targets: np.ndarray, deal: str,
          rng: np.random.Generator) -> tuple[np.ndarray, bool]:
    """A hospital as a mask over the patients, and whether most are women; never as many as men."""
    number = int(rng.choice(WOMEN))
    mask = np.zeros(len(women), bool)
    for sex, count in ((True, number), (False, SIZE - number)):
        pools = [women == sex] if deal == "natural" else [
            (women == sex) & (targets == c) for c in (0, 1)]
        for pool in pools:
            mask[rng.choice(np.flatnonzero(pool), count // len(pools), replace=False)] = True
    return mask, 2 * number > SIZE


def judged(learnt: dict[str, Tensor], fresh: dict[str, Tensor], seed: int) -> dict[str, float]:
    """AUC for the majority: from updates, from shuffled answers, from the share of disease that
    chapter 2 reads, and for an oracle who is given that share and the mean of each column."""
    rng = np.random.default_rng(seed)
    shuffled = [property_classifier(learnt["update"], rng.permutation(learnt["most"].numpy()))
                for _ in range(SHUFFLES)]
    own = property_classifier(learnt["update"], learnt["most"].numpy())

    def scored(classifier) -> float:
        odds = classifier.decision_function(fresh["update"].double().numpy())
        return auc(torch.from_numpy(odds), fresh["most"])

    def facts(side: dict[str, Tensor]) -> np.ndarray:
        return torch.cat([side["means"], side["share"]], 1).numpy()

    oracle = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(
        facts(learnt), learnt["most"].numpy())
    return {"auc": scored(own), "shuffled": float(np.mean([scored(c) for c in shuffled])),
            "share": auc(-fresh["share"][:, 0], fresh["most"]),
            "facts": auc(torch.from_numpy(oracle.decision_function(facts(fresh))), fresh["most"])}


# --- A class ----------------------------------------------------------------------------------


@functools.cache
def radiographs() -> Dataset:
    """All images of PneumoniaMNIST's training split."""
    return radiology.load("chest", source="real")


def films(seed: int) -> dict[str, Group]:
    """Three groups of radiographs: ``members``, ``strangers`` like them, and ``public`` ones."""
    rng = np.random.default_rng(seed)
    some = radiographs().take(np.sort(rng.permutation(len(radiographs()))[:IMAGES]))
    private, public = hospitals.train_test(some, 1 / 3, rng)
    members, strangers = hospitals.members(private, rng)
    return {"members": of(members), "strangers": of(strangers), "public": of(public)}


def released(model: str, group: Group, seed: int) -> tuple[nn.Sequential, View]:
    """A model trained on ``group``, as anyone may see it."""
    classes = int(group.targets.max()) + 1
    if model == "cnn":
        net, rate = small_cnn(generator(seed, "weights")), 0.05
    else:
        net, rate = nn.Sequential(nn.Flatten(), nn.Linear(group.inputs[0].numel(), classes)), 0.02
        with torch.no_grad():
            net[1].weight.zero_()
            net[1].bias.zero_()
    training = LocalTraining(rate, local_steps=600, batch_size=32, momentum=0.9)
    after = train_on(net, group.inputs, group.targets, training,
                     generator=generator(seed, "train")).after
    return net, View(PUBLIC, "released model", None, after, ("A",))


def faces(group: Group, seed: int) -> tuple[Group, Group]:
    """Twenty patients, each a class of its own: the images, and the noisy copies to train on."""
    own = Group(group.inputs[:FACES], torch.arange(FACES))
    noise = torch.randn(COPIES * FACES, *own.inputs.shape[1:], generator=generator(seed, "copies"))
    copies = (own.inputs.repeat(COPIES, 1, 1, 1) + SHARP * noise).clamp(0, 1)
    return own, Group(copies, own.targets.repeat(COPIES))


def run_class(model: str, start: str, seed: int) -> dict:
    """Invert each class, and compare with what the model has seen and what it has not."""
    here = films(seed)
    members, strangers = here["members"], here["strangers"]
    trained = members
    if model == "patients":
        members, trained = faces(members, seed)
        strangers = Group(strangers.inputs[:FACES], strangers.targets)
    net, view = released(model, trained, seed)
    mean = here["public"].inputs.mean(0, keepdim=True)
    begun = torch.zeros_like(mean) if start == "black" else mean
    found: dict[str, list[float]] = {}
    for label in members.targets.unique().tolist():
        answer = invert_class(net, view, label, start=begun)
        seen = members.inputs[members.targets == label]
        never = strangers.inputs if model == "patients" else strangers.inputs[
            strangers.targets == label]
        sure = torch.softmax(predict(net, view.after, begun), 1).max()
        for name, value in {**likeness(answer.guess, begun, mean, seen, never, model),
                            "confidence": answer.score[0], "start_confidence": sure}.items():
            found.setdefault(name, []).append(float(value))
    return {name: float(np.mean(values)) for name, values in found.items()}


def likeness(guess: Tensor, begun: Tensor, mean: Tensor, seen: Tensor, never: Tensor,
             model: str) -> dict[str, float]:
    """What was added to the start against what sets the class apart; the nearest image seen and
    the nearest never seen, of as many; and whether the patient is found, if a class is one."""
    size = len(never) if model == "patients" else min(len(seen), len(never))
    near = {name: max(alike(guess, image) for image in group[:size])
            for name, group in (("seen", seen), ("never", never))}
    found = {"resemblance": alike(guess - begun, seen.mean(0, keepdim=True) - mean),
             "nearest_seen": near["seen"], "nearest_never": near["never"]}
    if model == "patients":
        gallery = torch.cat([seen, never[1:]])
        found |= {"identified": float(identified(guess, seen, gallery)[0]),
                  "start_identified": float(identified(begun, seen, gallery)[0])}
    return found


def alike(a: Tensor, b: Tensor) -> float:
    """Correlation over pixels; 0 where one of the two is flat."""
    a, b = (t.flatten().double() - t.double().mean() for t in (a, b))
    norms = a.norm() * b.norm()
    return float(a @ b / norms) if norms > 0 else 0.0


# --- From trials to evidence ------------------------------------------------------------------

SHARE, POINTS = "share of patients", "difference of shares"
STATEMENTS = {
    "members": ("Patients in the update whose entry is right.", SHARE),
    "strangers": ("Patients who took no part whose entry is right.", SHARE),
    "gain": ("The same less the better guess without an update, for patients in it.", POINTS),
    "strangers_gain": ("The same for patients who took no part.", POINTS),
    "asked_members": ("Patients in the update whose diagnosis the model returned gets right.",
                      SHARE),
    "asked_strangers": ("Patients who took no part whose diagnosis it gets right.", SHARE),
    "share_read_error": ("Distance of the share of disease, read off the last bias, from the true.",
                         "mean absolute error"),
    "share_asked_error": ("The same for what the returned model says of public patients.",
                          "mean absolute error"),
    "share_prior_error": ("The same for the public share.", "mean absolute error"),
    "auc": ("Hospitals with most women told from those with fewer by their updates.", "AUC"),
    "shuffled": ("The same, learnt from shuffled answers.", "AUC"),
    "share": ("The same by the share of disease alone, low first.", "AUC"),
    "facts": ("The same by an oracle who is given that share and the mean of each column.", "AUC"),
    "excess": ("AUC of updates less that of the share of disease.", "AUC"),
    "confidence": ("The model's confidence in the picture made for a class.", "probability"),
    "start_confidence": ("Its confidence in some class on the start.", "probability"),
    "resemblance": ("What was added to the start against the class mean less the public mean.",
                    "correlation"),
    "nearest_seen": ("The picture against the nearest image trained on.", "correlation"),
    "nearest_never": ("The picture against the nearest of as many never seen.", "correlation"),
    "closer": ("The one less the other.", "correlation"),
    "identified": ("Pictures nearer to their patient than to 19 others.", "share of pictures"),
    "start_identified": ("The same for the start.", "share of pictures"),
}


def summarise(results: list[tuple[dict, dict]]) -> list[Evidence]:
    """One statement a condition and score; what needs no update is recorded once."""
    items, filled = [], False
    for setting, outcomes in by_condition(results):
        scores = {"patient": patient_scores, "hospital": hospital_scores,
                  "class": class_scores}[setting["part"]](setting, outcomes)
        if setting["part"] == "patient" and not filled:
            items += [describe({"part": "filled"}, f"{attribute}_{who}", who,
                               filled_by(outcomes, attribute, who))
                      for attribute in ATTRIBUTES for who in ("members", "strangers")]
            filled = True
        items += [describe(setting, name, kind, runs) for name, kind, runs in scores]
    return items


def filled_by(outcomes: list[dict], attribute: str, who: str) -> list[float]:
    """The better of the two guesses without an update, seed by seed."""
    return [max(o[f"{attribute}_imputed_{who}"], o[f"{attribute}_commonest_{who}"])
            for o in outcomes]


def patient_scores(setting: dict, outcomes: list[dict]) -> Iterator[tuple[str, str, list[float]]]:
    """Name, kind and runs of each score."""
    for attribute in ATTRIBUTES:
        for method in METHODS:
            if f"{attribute}_{method}_members" not in outcomes[0]:
                continue
            for who, gain in (("members", "gain"), ("strangers", "strangers_gain")):
                runs = [o[f"{attribute}_{method}_{who}"] for o in outcomes]
                yield f"{attribute}_{method}_{who}", who, runs
                yield f"{attribute}_{method}_{gain}", gain, [
                    a - b for a, b in zip(runs, filled_by(outcomes, attribute, who), strict=True)]
    for who in ("asked_members", "asked_strangers"):
        yield f"diagnosis_{who}", who, [o[f"diagnosis_{who}"] for o in outcomes]
    for name in ("share_read_error", "share_asked_error", "share_prior_error"):
        yield name, name, [o[name] for o in outcomes]


def hospital_scores(setting: dict, outcomes: list[dict]) -> Iterator[tuple[str, str, list[float]]]:
    """The same."""
    for name in ("auc", "shuffled", "share", "facts"):
        yield name, name, [o[name] for o in outcomes]
    yield "excess", "excess", [o["auc"] - o["share"] for o in outcomes]


def class_scores(setting: dict, outcomes: list[dict]) -> Iterator[tuple[str, str, list[float]]]:
    """The same."""
    for name in ("confidence", "start_confidence", "resemblance", "nearest_seen", "nearest_never",
                 *(("identified", "start_identified") if setting["model"] == "patients" else ())):
        yield name, name, [o[name] for o in outcomes]
    yield "closer", "closer", [o["nearest_seen"] - o["nearest_never"] for o in outcomes]


def describe(setting: dict, name: str, kind: str, runs: list[float]) -> Evidence:
    """Evidence of one score; a trial is one draw of patients, deal, weights and batches."""
    statement, unit = STATEMENTS[kind]
    interval, how = interval_of(tuple(runs), unit)
    part = setting["part"]
    data = radiographs() if part == "class" else table()
    members = data if part == "class" else hospitals.by_site(table())["cleveland"]
    baseline, whose = {
        "gain": (0.0, "the better guess without an update"),
        "strangers_gain": (0.0, "the better guess without an update"),
        "auc": (0.5, "chance"), "shuffled": (0.5, "chance"), "share": (0.5, "chance"),
        "facts": (0.5, "chance"), "excess": (0.0, "the share of disease alone"),
        "closer": (0.0, "images never seen"), "identified": (1 / FACES, "chance"),
        "start_identified": (1 / FACES, "chance"),
    }.get(kind, (None, "see the items that name a guess"))
    parts = setting.get("hospitals", 1) if setting.get("observer") == "server" else 1
    size = {"patients_each": round(MEMBERS / parts)} if part == "patient" else {}
    return Evidence(
        name=f"{name_of(setting)}_{name}", statement=statement, value=float(np.mean(runs)),
        unit=unit, interval=interval, interval_kind=how, baseline=baseline, baseline_kind=whose,
        runs=tuple(map(float, runs)), seeds=SEEDS, data=data.provenance, data_sha256=data.sha256,
        scale="fast", version=leaklab.__version__,
        view=observer_of(setting), privacy_unit={"patient": "record", "hospital": "hospital",
                                                 "class": "class", "filled": "record"}[part],
        setting={**setting, **size}, clusters=len(data if part == "hospital" else members))


MEMBERS = 110  # of Cleveland, to within one


def observer_of(setting: dict) -> str | None:
    """Who sees it."""
    if setting.get("observer") == "sum":
        return "server behind secure aggregation"
    line = "server; eavesdropper without TLS"
    return {"patient": line, "hospital": line, "class": "public", "filled": None}[setting["part"]]


def name_of(setting: dict) -> str:
    """A word for a condition: the values of its settings in their order."""
    return "_".join(str(v) for v in setting.values()).replace(" ", "_")
