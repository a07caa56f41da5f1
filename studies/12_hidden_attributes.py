"""Study 12: what an update says of a patient's missing entry, of a hospital, and of a class.

    patient    hospitals in Cleveland take part in one round, and an observer fills in the
               diagnosis, sex, or exercise-induced angina (exang) of a patient whose record it
               knows but for that. By training, round, hospital size and observer; the same for
               patients who took no part. And the share of disease of each hospital, as in study 2
    hospital   whether most patients of a hospital are women: hospitals of 20 are invented from
               public patients to learn from, and others from private patients to judge. With sex
               among the inputs and without; patients dealt so that the share of disease follows
               the share of women, or is one half for either sex; with the columns evened as well,
               so that they have the same means for both sexes; with marks at random in place of
               women. By training and stage
    class      the input that a released model takes for a class: softmax regression and a CNN on
               normal and pneumonia radiographs, and softmax regression with a class for each of
               twenty patients. From black, as published, or from the mean of public images

Whoever never saw an update fills in an entry by logistic regression on the public patients, with
the ridge that predicts best in folds of these patients alone, or by their commonest value; the
better of the two on the patients judged is the guess that counts, which only an oracle could pick.
A seed splits the patients, deals them, and draws weights and batches.
Sizes, rates, ridge and the number of components were chosen on seeds 100 to 103 or before. Marks at
random were added after a first run, in which evened columns seemed to leave something to read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

import leaklab
from leaklab.assess import hidden_attributes as scene
from leaklab.assess.hidden_attributes import ATTRIBUTES, FACES, PASSES, Dealt, Group, joined
from leaklab.attacks import labels
from leaklab.attacks.attributes import candidates, infer_attribute
from leaklab.attacks.class_inversion import invert_class
from leaklab.attacks.membership.updates import glir, update_cosine, whitened
from leaklab.attacks.properties import invented_updates, property_classifier
from leaklab.data import hospitals
from leaklab.evidence import Evidence
from leaklab.federation import train_on
from leaklab.metrics.reconstruction import identified
from leaklab.metrics.roc import auc
from leaklab.models import predict
from leaklab.runtime import generator
from leaklab.updates import LocalTraining, View
from studies import by_condition, interval_of

SEEDS = tuple(range(12))
METHODS = ("whitened", "cosine", "glir")
SHUFFLES = 5
STRENGTHS = tuple(np.logspace(-3, 1, 9))  # inverse of the ridge of who fills in, to choose from
FOLDS = 5
WALK = LocalTraining(0.05, local_steps=15, batch_size=8)
EARLIER = LocalTraining(0.05, local_steps=200, batch_size=32)  # behind a trained model


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
                                      ("rest", "balanced"), ("evened rest", "balanced"),
                                      ("mark", "balanced"))
                 for stage, training in (("new", "one step"), ("new", "walk"), ("late", "walk"))]
    settings += [{"part": "class", "model": model, "start": start}
                 for model in ("softmax", "cnn", "patients") for start in ("black", "mean")]
    return [{**setting, "seed": seed} for setting in settings for seed in SEEDS]


def run(setting: Mapping) -> dict:
    """Measure one trial."""
    parts = {"patient": run_patient, "hospital": run_hospital, "class": run_class}
    return parts[setting["part"]](**{k: v for k, v in setting.items() if k != "part"})


# --- A patient --------------------------------------------------------------------------------


def run_patient(training: str, stage: str, hospitals: int, observer: str, seed: int) -> dict:
    """Fill in each attribute of members and strangers, with the update and without."""
    seen, found = scene.round_of(training, stage, hospitals, seed), {}
    seen = seen if observer == "server" else scene.summed(seen)
    methods = METHODS if (hospitals, observer) == (5, "server") else ("whitened",)
    for attribute in ATTRIBUTES:
        for method in methods:
            for who, right in attacked(seen, attribute, method, seed).items():
                found[f"{attribute}_{method}_{who}"] = right
        found |= {f"{attribute}_{name}": right
                  for name, right in filled_in(attribute, seed).items()}
    outside = scene.cleveland(seed)["public"]
    true = [float(part.targets.double().mean()) for _, part in seen]
    net, prior = scene.network(seed), float(outside.targets.double().mean())
    readings = {"read": labels.class_shares, "asked": labels.asked_shares}
    for name, read in readings.items():
        shares = [float(read(net, view, auxiliary=outside.inputs).guess[1]) for view, _ in seen]
        found[f"share_{name}_error"] = float(np.abs(np.subtract(shares, true)).mean())
    found["share_prior_error"] = float(np.abs(np.subtract(prior, true)).mean())
    return {**found, **asked(seen, seed)}


def attacked(seen: list[tuple[View, Group]], attribute: str, method: str,
             seed: int) -> dict[str, float]:
    """How often the entry is right, of those behind each view and of strangers to all."""
    outside, strangers = scene.cleveland(seed)["public"], scene.cleveland(seed)["strangers"]
    column, net = ATTRIBUTES[attribute], scene.network(seed)
    values = (0, 1) if column is None else outside.inputs[:, column].unique().tolist()
    right: dict[str, list[Tensor]] = {"members": [], "strangers": []}
    for view, part in seen:
        score = {"cosine": update_cosine, "whitened": whitened,
                 "glir": partial(glir, records=len(part))}[method]
        both = joined([part, strangers])
        guess = infer_attribute(
            net, view, *candidates(both.inputs, both.targets, values, column=column), score=score,
            public=None if method == "cosine" else (outside.inputs, outside.targets)).guess
        hits = (guess == both.entry(attribute)).double()
        right["members"].append(hits[:len(part)])
        right["strangers"].append(hits[len(part):])
    return {who: float(torch.cat(parts).mean()) for who, parts in right.items()}


def filled_in(attribute: str, seed: int) -> dict[str, float]:
    """How often someone is right who saw no update: by regression, by the commonest value."""
    here = scene.cleveland(seed)
    public = here["public"]
    model = imputation(public.rest(attribute), public.entry(attribute).numpy())
    commonest = public.entry(attribute).mode().values
    found = {}
    for who in ("members", "strangers"):
        truth = here[who].entry(attribute)
        found[f"imputed_{who}"] = float(model.score(here[who].rest(attribute), truth))
        found[f"commonest_{who}"] = float((truth == commonest).double().mean())
    return found


def imputation(known: np.ndarray, entries: np.ndarray) -> LogisticRegression:
    """Logistic regression, its ridge chosen by the likelihood of patients left out of the fit."""
    search = GridSearchCV(LogisticRegression(max_iter=1000), {"C": STRENGTHS}, cv=FOLDS,
                          scoring="neg_log_loss")
    return search.fit(known, entries).best_estimator_


def asked(seen: list[tuple[View, Group]], seed: int) -> dict[str, float]:
    """How often the model that came back is right on the diagnosis, plainly asked."""
    groups = {"members": [part for _, part in seen],
              "strangers": [scene.cleveland(seed)["strangers"]] * len(seen)}
    return {f"diagnosis_asked_{who}": float(torch.cat(
        [(predict(scene.network(seed), view.after, part.inputs).argmax(1) == part.targets).double()
         for (view, _), part in zip(seen, parts, strict=True)]).mean())
        for who, parts in groups.items()}


# --- A hospital -------------------------------------------------------------------------------


def run_hospital(inputs: str, deal: str, stage: str, training: str, seed: int) -> dict:
    """Learn the sign of a majority of women from public patients, and judge private hospitals."""
    local = scene.ONE_STEP if training == "one step" else WALK
    sides = scene.hospitals_by_sex(inputs, deal, seed)
    net = started(sides["judged"].patients, stage, seed)
    updates = {name: invented_updates(net, side.patients.inputs, side.patients.targets,
                                      side.members, local, generator(seed, name))
               for name, side in sides.items()}
    return judged(sides, updates, seed)


def started(group: Group, stage: str, seed: int) -> nn.Sequential:
    """The model sent out: new, or trained on all private patients."""
    net = scene.network(seed, group.inputs.shape[1])
    if stage == "late":
        net.load_state_dict(train_on(net, group.inputs, group.targets, EARLIER,
                                     generator=generator(seed, "earlier")).after)
    return net


def judged(sides: dict[str, Dealt], updates: dict[str, Tensor], seed: int) -> dict[str, float]:
    """AUC for the majority: from updates, from shuffled answers, from the share of disease that
    chapter 2 reads, and for an oracle who is given that share and the mean of each column."""
    rng = np.random.default_rng(seed)
    answers, most = sides["learnt"].most.numpy(), sides["judged"].most
    shuffled = [property_classifier(updates["learnt"], rng.permutation(answers))
                for _ in range(SHUFFLES)]
    own = property_classifier(updates["learnt"], answers)

    def scored(classifier) -> float:
        odds = classifier.decision_function(updates["judged"].double().numpy())
        return auc(torch.from_numpy(odds), most)

    known = {name: facts(side) for name, side in sides.items()}
    oracle = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(
        known["learnt"], answers)
    said = torch.from_numpy(oracle.decision_function(known["judged"]))
    return {"auc": scored(own), "shuffled": float(np.mean([scored(c) for c in shuffled])),
            "share": auc(-torch.from_numpy(known["judged"][:, -1]), most),
            "facts": auc(said, most)}


def facts(side: Dealt) -> np.ndarray:
    """The mean of each column in each hospital and, last, its share of disease."""
    each = torch.cat([side.patients.inputs, side.patients.targets[:, None]], 1).double()
    return (side.members.double() @ each / scene.SIZE).numpy()


# --- A class ----------------------------------------------------------------------------------


def run_class(model: str, start: str, seed: int) -> dict:
    """Invert each class, and compare with what the model has seen and what it has not."""
    here = scene.films(seed)
    members, strangers = here["members"], here["strangers"]
    trained = members
    if model == "patients":
        members, trained = scene.faces(members, seed)
        strangers = Group(strangers.inputs[:FACES], strangers.targets)
    net, view = scene.released(model, trained, seed)
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
    """The better of the two guesses without an update, seed by seed.

    In a first record the regression had a fixed ridge, and the diagnosis was guessed less well.
    """
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
    data = scene.radiographs() if part == "class" else scene.table()
    members = data if part == "class" else hospitals.by_site(scene.table())["cleveland"]
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
