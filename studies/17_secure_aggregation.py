"""Study 17: what is read of sums, how a server gets round the masks, and what they cost.

    tables         records of diabetes patients read from the sum of 1, 2, 5 and 20 hospitals
    images         the same of radiographs: off a dense layer that nobody crafted, by a passive
                   server, and through an imprint layer that all hospitals are sent alike
    genotypes      the same of whole genotypes, by the attack of chapter 13
    counts         diagnoses counted in the sum, and what they say of one hospital
    membership     who is behind the sum, by the matched filter of chapter 11
    inconsistency  the others are sent a dead model; masks bound to the model, and not
    rounds         sums over changing sets of hospitals, taken apart
    cost           bytes and CPU time of masks and of CKKS, beside the plain mean

Every sum is that of a real round of the protocol. The attacks are the exact ones of chapters 3 and
7, told how many records there are, as the sum tells it. Controls: the answer is held against the
records of another federation, or against patients in no update; beside it stand guesses that saw
no update. Settings were tried on seeds 100 to 103.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy

import leaklab
from leaklab.assess import allele_frequencies, sums
from leaklab.assess.inversion import Halves, halves
from leaklab.assess.reading import claims, read
from leaklab.attacks import disaggregation, genotypes, labels
from leaklab.attacks.exclusive_neurons import exclusive_neurons
from leaklab.attacks.malicious_server import imprint, inconsistency, trap_weights
from leaklab.attacks.membership import updates as membership
from leaklab.data import diabetes, radiology
from leaklab.data.dataset import Dataset
from leaklab.data.genomes import phenotypes
from leaklab.defences import homomorphic
from leaklab.defences import secure_aggregation as sa
from leaklab.defences.vectors import flat_change
from leaklab.evidence import Evidence
from leaklab.federation import SERVER_BEHIND_SECURE_AGGREGATION, train_on
from leaklab.gradients import record_gradients
from leaklab.metrics import proportion_interval, roc
from leaklab.models import conv_net, mlp
from leaklab.runtime import generator
from leaklab.updates import Knowledge, LocalTraining, Recovered, Update, View, weighted_mean
from studies import by_condition, interval_of

SEEDS = tuple(range(20))
FEWER = SEEDS[:10]  # of the slower parts
HOSPITALS, SIZES = (1, 2, 5, 20), (1, 2, 4)
EACH, RADIOGRAPHS, BINS, NEURONS = 4, 1000, 256, 512  # records a hospital, pool, layers
MOST_PEELED = 20  # records up to which exclusive neurons are searched for
SNPS, PUBLIC_PEOPLE = 2000, 200  # of the genotypes; people who give frequencies and scaling
COUNTED = 8  # records a hospital whose diagnoses are counted, and who are looked for
TARGET, OTHERS = 4, 40  # records of the hospital sought, and of each other one
STEP = LocalTraining(0.1, mode="eval")
FAST, BATCHES = LocalTraining(0.5), LocalTraining(0.1, local_steps=5, batch_size=8)
COHORT, PRESENT = 5, 3  # hospitals in all, and in each round
ROUNDS = (8, 12, 24)


def trials() -> list[dict]:
    """Every setting of the study, for every seed."""
    settings = [{"part": "tables", "hospitals": number, "size": size}
                for number in HOSPITALS for size in SIZES]
    settings += [{"part": "images", "data": data, "model": model, "hospitals": number}
                 for data in ("synthetic", "real") for model in ("dense", "imprint")
                 for number in HOSPITALS]
    settings += [{"part": part, "hospitals": number}
                 for part in ("genotypes", "counts", "membership") for number in HOSPITALS]
    settings += [{"part": "inconsistency", "masks": masks}
                 for masks in ("one model", "unbound", "bound")]
    settings += [{"part": "rounds", "how": how, "rounds": 12} for how in HOWS]
    settings += [{"part": "rounds", "how": "training", "rounds": number}
                 for number in ROUNDS if number != 12]
    settings += [{"part": "cost", "side": side, "parameters": size, "hospitals": number}
                 for side in SIDES for size, number in ((1000, 5), (100_000, 5), (1000, 20))]
    return [{**setting, "seed": seed} for setting in settings for seed in seeds_of(setting)]


def seeds_of(setting: Mapping) -> tuple[int, ...]:
    """How often a part is run."""
    return FEWER if setting["part"] in ("images", "genotypes", "cost") else SEEDS


def run(setting: Mapping) -> dict:
    """Measure one trial."""
    parts = {"tables": run_tables, "images": run_images, "genotypes": run_genotypes,
             "counts": run_counts, "membership": run_membership,
             "inconsistency": run_inconsistency, "rounds": run_rounds, "cost": run_cost}
    return parts[setting["part"]](**{k: v for k, v in setting.items() if k != "part"})


# --- What a sum says ---------------------------------------------------------------------------


def run_tables(hospitals: int, size: int, seed: int) -> dict:
    """Records of one sum; control: read another federation's sum."""
    held, net = sums.patients(seed), sums.network(seed)
    rows = sums.dealt(held, [size] * 2 * hospitals, seed)
    ours, others = rows[:hospitals], rows[hospitals:]
    found, strange = (
        sums.read(net, sums.server_view(sums.updates(net, held, who, seed)), hospitals * size, seed)
        for who in (ours, others))
    victims = torch.cat(ours)
    return {**sums.judged(found, victims, held), **sums.guesses(victims, held),
            "control": sums.judged(strange, victims, held)["exact"]}


@functools.cache
def radiographs(source: str) -> Dataset:
    """Normal chests and chests with opacities, 28 x 28."""
    return radiology.load("chest", source=source, n=RADIOGRAPHS)


@functools.lru_cache(4)
def known(data: str, seed: int) -> Halves:
    """The victims' half of the patients and the attacker's."""
    return halves(radiographs(data), seed)


def run_images(data: str, model: str, hospitals: int, seed: int) -> dict:
    """Radiographs of one sum; control: as many patients who were in no update."""
    half, draw = known(data, seed), generator(seed, "initial weights")
    net = (mlp(draw, num_features=784, width=NEURONS) if model == "dense" else
           imprint.imprinted(conv_net(draw, num_classes=2), half.public, BINS))
    number = EACH * hospitals
    victims, strangers = half.private[:2 * number].split(number)
    parts = zip(victims.split(EACH), half.private_labels[:number].split(EACH), strict=True)
    sent = [train_on(net, x, y, STEP, hospital=f"Hospital {k + 1}", generator=generator(seed, k))
            for k, (x, y) in enumerate(parts)]
    answer = seen_in(net, sums.server_view(sent, STEP), model, number)
    guess = answer.guess.reshape(-1, *victims.shape[1:])
    claimed, false = claims(answer, victims)
    return {"exact": share(read(guess, victims)), "claimed": claimed / number, "false": false,
            "control": share(read(guess, strangers)), "nearest": share(read(half.public, victims))}


def seen_in(net: nn.Module, view: View, model: str, number: int) -> Recovered:
    """The images behind ``view``: of a crafted layer by its bins, else by exclusive neurons and,
    where there are too many records for that, by single rows."""
    if model == "imprint":
        return imprint.read_bins(net, view)
    if number <= MOST_PEELED:
        found = exclusive_neurons(net, view, batch_size=number)
        if found is not None:
            return found
    return trap_weights.read_rows(net, view)


def share(which: Tensor) -> float:
    """The share that holds."""
    return float(which.double().mean())


def run_genotypes(hospitals: int, seed: int) -> dict:
    """Genotypes of real people behind one sum, with a synthetic disease; control: as many of the
    same people who were in no update."""
    panel, rng = allele_frequencies.group(), np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(panel.snps)[:SNPS])
    dosages = torch.tensor(panel.dosages[rng.permutation(len(panel))][:, chosen]).long()
    public, private = dosages[:PUBLIC_PEOPLE], dosages[PUBLIC_PEOPLE:]
    ill = torch.tensor(phenotypes.case_control(private.numpy(), rng))
    f = (public.double().mean(0) / 2).clamp(1 / (2 * PUBLIC_PEOPLE), 1 - 1 / (2 * PUBLIC_PEOPLE))
    encoding = 2 * f, (2 * f * (1 - f)).sqrt()
    inputs, number = ((private - encoding[0]) / encoding[1]).float(), EACH * hospitals
    net = mlp(generator(seed, "weights"), num_features=SNPS, width=sums.WIDTH)
    sent = [train_on(net, inputs[own], ill[own], sums.STEP, hospital=f"Hospital {k + 1}",
                     generator=generator(seed, k))
            for k, own in enumerate(torch.arange(number).split(EACH))]
    # among four records differences of two find nothing more, and take half a minute
    methods = genotypes.METHODS if hospitals > 1 else ("alone", "unmixing")
    answer = genotypes.recover(net, sums.server_view(sent), frequencies=f, encoding=encoding,
                               batch_size=number, methods=methods,
                               generator=generator(seed, "attack"))
    same = (answer.guess[:, None] == private[None]).all(2)
    alike = (public[:, None] == private[None, :number]).all(2)
    return {"exact": share(same[:, :number].any(0)),
            "control": share(same[:, number:2 * number].any(0)),
            "claimed": int(answer.certificate.sum()) / number,
            "false": int((answer.certificate & ~same[:, :number].any(1)).sum()),
            "nearest": share(alike.any(0))}


def run_counts(hospitals: int, seed: int) -> dict:
    """Diagnoses in a sum; then the share in it taken for that of each hospital, beside the share
    in the whole table, and beside what each hospital's own update says."""
    held, net = sums.patients(seed), sums.network(seed)
    rows = sums.dealt(held, [COUNTED] * hospitals, seed)
    sent = sums.updates(net, held, rows, seed)
    truth = [int(held.targets[own].sum()) for own in rows]
    prior = float(torch.tensor(diabetes.load().targets).double().mean())

    def counted(part: list[Update]) -> int:
        return int(labels.label_counts(net, sums.server_view(part), auxiliary=held.public,
                                       batch_size=COUNTED * len(part)).guess[1])

    together, alone = counted(sent), [counted([update]) for update in sent]
    total = COUNTED * hospitals
    return {"right": float(together == sum(truth)),
            "guess": float(round(prior * total) == sum(truth)),
            "off_sum": float(np.mean([abs(together / hospitals - n) for n in truth])),
            "off_own": float(np.mean([abs(a - n) for a, n in zip(alone, truth, strict=True)])),
            "off_guess": float(np.mean([abs(prior * COUNTED - n) for n in truth]))}


def run_membership(hospitals: int, seed: int) -> dict:
    """Tell who is behind the sum from as many others, or all there are; control: by the loss of
    the model that was sent, which has seen nobody."""
    held, net = sums.patients(seed), sums.network(seed)
    rows = sums.dealt(held, [COUNTED] * hospitals, seed)
    view = sums.server_view(sums.updates(net, held, rows, seed))
    asked = asked_about(torch.cat(rows), len(held.inputs), seed)
    members = torch.arange(len(asked)) < COUNTED * hospitals
    known = record_gradients(net, view.before, held.public, held.public_targets)
    own = record_gradients(net, view.before, held.inputs[asked], held.targets[asked])
    loss = cross_entropy(net(held.inputs[asked]), held.targets[asked], reduction="none").detach()
    return {"auc": roc.auc(membership.whitened(own, membership.flat_update(net, view), known),
                           members),
            "control_auc": roc.auc(-loss, members)}


def asked_about(members: Tensor, number: int, seed: int) -> Tensor:
    """The members, then up to as many other rows of ``number``."""
    others = torch.tensor(sorted(set(range(number)) - set(members.tolist())))
    drawn = others[torch.randperm(len(others), generator=generator(seed, "others"))]
    return torch.cat([members, drawn[:len(members)]])


# --- Round the masks ---------------------------------------------------------------------------


def run_inconsistency(masks: str, seed: int) -> dict:
    """One hospital of five is sent the model, the others a dead one. The server takes the masks
    off and reads on, whatever the words look like; a server of the protocol would stop."""
    held, net = sums.patients(seed), sums.network(seed)
    rows = sums.dealt(held, [TARGET] + [OTHERS] * (COHORT - 1), seed)
    others = net if masks == "one model" else inconsistency.silenced(net)
    sent = sums.updates([net] + [others] * (COHORT - 1), held, rows, seed)
    cohort, *messages = sa.played(sent, bind_model=masks != "unbound")
    words = sa.unmask(cohort, sent[0].before, *messages)
    total = sum(map(len, rows))
    mean = words[:-1].astype(np.int64) / (total * 2.0**cohort.quantiser.fraction_bits)
    opened = sa.Opened(sent[0].before, torch.from_numpy(mean), cohort.hospitals, total)
    try:
        sa.decode(words, COHORT, cohort.quantiser)
        stopped = 0.0
    except sa.RoundAborted:
        stopped = 1.0
    own = flat_change(sent[0].before, sent[0].after)
    head = sum(tensor.numel() for name, tensor in sent[0].before.items() if name < "3.bias")
    kept = torch.arange(len(own)) // 2 != head // 2  # the head's two biases learn in a dead model
    view = sums.alone(opened, net, TARGET)
    found = judged_or_nothing(net, view, TARGET, rows[0], held, seed)
    return {"cosine": float(cosine_similarity(opened.mean[kept], own[kept], dim=0)),
            "exact": found["exact"], "false": found["false"], "stopped": stopped,
            **sums.guesses(rows[0], held)}


def judged_or_nothing(net: nn.Module, view: View, number: int, rows: Tensor, held: sums.Patients,
                      seed: int) -> dict:
    """Records read off ``view``; none where it holds no finite numbers."""
    if not all(tensor.isfinite().all() for tensor in view.after.values()):
        return {"exact": 0.0, "false": 0}
    return sums.judged(sums.read(net, view, number, seed), rows, held)


HOWS = ("same model", "training", "fast training", "batches", "fixed set")


def run_rounds(how: str, rounds: int, seed: int) -> dict:
    """Five hospitals, three drawn for each round. How well the mean update of each is found, by
    least squares without and with a trend; beside it the plain mean of all that was opened.

    ``same model``: the server sends one model again and again; ``training``: it moves by the mean,
    at the usual learning rate or five times that; ``batches``: and hospitals take five steps on
    batches; ``fixed set``: as the first, with all five in every round. No two hospitals have as
    many records. Diagnoses are counted in the update found, and in the sums together.
    """
    held, net = sums.patients(seed), sums.network(seed)
    sizes = [TARGET + k for k in range(COHORT)]
    rows = sums.dealt(held, sizes, seed)
    training = {"fast training": FAST, "batches": BATCHES}.get(how, sums.STEP)
    first, draw = dict(net.state_dict()), generator(seed, "who takes part")
    opened, own = [], []
    for number in range(rounds):
        sent = sums.updates(net, held, rows, seed, training=training, round=number)
        own.append(torch.stack([flat_change(u.before, u.after) for u in sent]))
        present = (range(COHORT) if how == "fixed set" else
                   torch.randperm(COHORT, generator=draw)[:PRESENT].sort().values.tolist())
        opened.append(sa.secure_sum([sent[k] for k in present]))
        if how not in ("same model", "fixed set"):
            net.load_state_dict(opened[-1].after)
    truth = torch.stack(own).mean(0)
    net.load_state_dict(first)
    plain = torch.stack([part.mean for part in opened]).mean(0)
    found = {trend: disaggregation.disaggregate(opened, trend=trend) for trend in (False, True)}
    cosines = {trend: cosine_similarity(part.recovered.guess, truth)
               for trend, part in found.items()}
    views = disaggregation.single_views(found[False], first, SERVER_BEHIND_SECURE_AGGREGATION,
                                        Knowledge(training))
    scores = [judged_or_nothing(net, view, size, own_rows, held, seed)
              for view, size, own_rows in zip(views, sizes, rows, strict=True)]
    sure = found[False].recovered.certificate
    ill = [int(held.targets[own_rows].sum()) for own_rows in rows]
    counted = [int(labels.label_counts(net, view, batch_size=size, auxiliary=held.public).guess[1])
               for view, size in zip(views, sizes, strict=True)]
    return {"cosine": float(cosines[False].mean()), "trend": float(cosines[True].mean()),
            "plain": float(cosine_similarity(plain[None], truth).mean()),
            "claimed": share(sure), "false": int((sure & (cosines[False] < 0.95)).sum()),
            "sizes": share((found[False].sizes - torch.tensor(sizes)).abs() < 0.5),
            "exact": float(np.mean([part["exact"] for part in scores])),
            "score": float(found[False].recovered.score.mean()),
            "off": float(np.mean(np.abs(np.subtract(counted, ill)))),
            "off_guess": float(np.mean([abs(sum(ill) / sum(sizes) * size - n)
                                        for size, n in zip(sizes, ill, strict=True)]))}


# --- The price ---------------------------------------------------------------------------------

SIDES = ("masks", "CKKS", "plain")


def run_cost(side: str, parameters: int, hospitals: int, seed: int) -> dict:
    """What one round takes: bytes that a hospital sends, CPU seconds of all parties together, and
    by how much the mean is off."""
    source = generator(seed, "cost", parameters)
    before = {"weight": 0.05 * torch.randn(parameters, generator=source)}
    sent = [Update(before, {"weight": before["weight"]
                            + 1e-3 * torch.randn(parameters, generator=source)},
                   20 + k, 0, f"Hospital {k + 1}") for k in range(hospitals)]
    exact = weighted_mean([u.after for u in sent], [u.num_examples for u in sent])["weight"]
    begun = time.process_time()
    up, after = {"masks": by_masks, "CKKS": by_ckks, "plain": plainly}[side](sent)
    return {"seconds": time.process_time() - begun, "up": up, "ratio": up / sent[0].num_bytes,
            "error": float((after["weight"] - exact).abs().max())}


def by_masks(sent: list[Update]) -> tuple[int, Mapping[str, Tensor]]:
    """Keys, sealed shares with their hashes, masked words, shares revealed."""
    cohort, adverts, shares, masked, revealed = sa.played(sent)
    opened = sa.open_sum(cohort, sent[0].before, adverts, shares, masked, revealed)
    up = (len(adverts[0].mask_key) + len(adverts[0].channel_key)
          + sum(map(len, shares[0].sealed.values()))
          + sum(len(part) for pair in shares[0].hashes.values() for part in pair)
          + masked[0].words.nbytes
          + sum(map(len, (*revealed[0].own.values(), *revealed[0].pairs.values()))))
    return up, opened.after


def by_ckks(sent: list[Update]) -> tuple[int, Mapping[str, Tensor]]:
    """Ciphertexts; keys were handed out before."""
    keys, total = homomorphic.draw_keys(), sum(update.num_examples for update in sent)
    parts = [homomorphic.encrypt(keys.public, update, update.num_examples / total)
             for update in sent]
    after = homomorphic.decrypt(keys.secret, sent[0].before, homomorphic.add(keys.public, parts))
    return sum(map(len, parts[0])), after


def plainly(sent: list[Update]) -> tuple[int, Mapping[str, Tensor]]:
    """The updates as they are."""
    return (sent[0].num_bytes,
            weighted_mean([u.after for u in sent], [u.num_examples for u in sent]))


# --- From trials to evidence ------------------------------------------------------------------


ORDER = {"tables": ("hospitals", "size"), "images": ("data", "model", "hospitals"),
         "genotypes": ("hospitals",), "counts": ("hospitals",), "membership": ("hospitals",),
         "inconsistency": ("masks",),
         "rounds": ("how", "rounds"), "cost": ("side", "parameters", "hospitals")}
READ = {
    "exact": ("Share of the records that were read.", "share of records"),
    "claimed": ("Share of records that the attacker claims to have read.", "share of records"),
    "false": ("Share of trials with a claim that is none of the records.", "share of trials"),
    "control": ("Share of records that the answer to another sum, or of patients in no update, "
                "reads.", "share of records"),
    "fields": ("Share of all fields that were read.", "share of fields"),
    "nearest_fields": ("Share of fields right in the nearest public record, which takes an oracle.",
                       "share of fields"),
}
STATEMENTS = {
    "tables": READ,
    "images": {key: READ[key] for key in ("exact", "claimed", "false", "control")},
    "genotypes": {key: READ[key] for key in ("exact", "claimed", "false", "control")},
    "counts": {
        "right": ("Share of trials in which the diagnoses of all records were counted rightly.",
                  "share of trials"),
        "off_sum": ("Records by which the count of one hospital is off, taken from the sum.",
                    "records"),
        "off_own": ("Records by which it is off, taken from its own update.", "records")},
    "membership": {
        "auc": ("AUC of telling who is behind the sum from who is not.", "AUC"),
        "control_auc": ("The same by the loss of the model sent, which saw nobody.", "AUC")},
    "inconsistency": {
        "cosine": ("Cosine between what the server is left with and the target's own update, "
                   "without the last bias.", "cosine"),
        "exact": ("Share of the target's records that were read.", "share of records"),
        "false": READ["false"],
        "stopped": ("Share of trials in which the sum is out of range and the round stops.",
                    "share of trials")},
    "rounds": {
        "cosine": ("Mean cosine between the update found for a hospital and its own.", "cosine"),
        "trend": ("The same where updates may change evenly over the rounds.", "cosine"),
        "score": ("The cosine that the attacker expects.", "cosine"),
        "claimed": ("Share of hospitals whose update the attacker claims.", "share of hospitals"),
        "false": ("Share of trials with a claim of cosine below 0.95.", "share of trials"),
        "sizes": ("Share of hospitals whose number of records was found.", "share of hospitals"),
        "exact": ("Share of records read off the updates found.", "share of records"),
        "off": ("Records by which the diagnoses counted in the update found are off.",
                "records")},
    "cost": {
        "up": ("Bytes that one hospital sends in a round.", "bytes"),
        "ratio": ("The same, as a multiple of the plain update.", "ratio"),
        "seconds": ("CPU seconds of all parties together.", "seconds"),
        "error": ("Largest distance from the plain mean.", "weight")},
}


def summarise(results: list[tuple[dict, dict]]) -> list[Evidence]:
    """One statement a condition and quantity, from the trials of all seeds."""
    return [describe(setting, outcomes, key) for setting, outcomes in by_condition(results)
            for key in STATEMENTS[setting["part"]]]


def describe(setting: dict, outcomes: list[dict], key: str) -> Evidence:
    """Evidence of one quantity; a trial is one draw of weights, split and victims."""
    statement, unit = STATEMENTS[setting["part"]][key]
    runs = tuple(float(min(o[key], 1) if key == "false" else o[key]) for o in outcomes)
    more: dict = {}
    if unit == "share of trials":
        more = {"successes": round(sum(runs)), "trials": len(runs)}
        interval = proportion_interval(more["successes"], len(runs))
        kind = "95 % Clopper-Pearson over trials"
    elif unit in ("seconds", "weight", "bytes", "ratio"):
        middle = float(np.mean(runs))  # of equal runs it may be a rounding off
        interval = min(*runs, middle), max(*runs, middle)
        kind = "smallest and largest trial"
    else:
        interval, kind = interval_of(runs, unit)
        if unit == "cosine":
            interval = tuple(np.clip(interval, -1, 1).tolist())
            kind = "95 % t over trials, cut to -1 and 1"
    baseline, whose = prior_of(setting, key, outcomes)
    data = {"images": lambda: radiographs(setting["data"]),
            "genotypes": allele_frequencies.group}.get(setting["part"], diabetes.load)()
    private = setting["part"] != "cost"
    return Evidence(
        name=f"{name_of(setting)}_{key}", statement=statement, value=float(np.mean(runs)),
        unit=unit, interval=interval, interval_kind=kind, baseline=baseline, baseline_kind=whose,
        runs=runs, seeds=seeds_of(setting), scale="fast", version=leaklab.__version__,
        data=data.provenance if private else "SYNTHETIC noise of the size of a training step",
        data_sha256=data.sha256 if private else "", setting=conditions(setting),
        view=view_of(setting), defence=defence_of(setting),
        privacy_unit="record" if private else None,
        clusters=None if not private else (
            len(data) if setting["part"] == "genotypes" else len(np.unique(data.patients))), **more)


def conditions(setting: dict) -> dict:
    """What a rerun needs to know."""
    part = setting["part"]
    more = {"tables": {"width": sums.WIDTH, "learning_rate": sums.STEP.learning_rate},
            "images": {"size": EACH, "bins": BINS, "width": NEURONS},
            "genotypes": {"size": EACH, "snps": SNPS, "width": sums.WIDTH},
            "counts": {"size": COUNTED, "width": sums.WIDTH},
            "membership": {"size": COUNTED, "width": sums.WIDTH},
            "inconsistency": {"target": TARGET, "others": OTHERS, "hospitals": COHORT},
            "rounds": {"hospitals": COHORT, "present": PRESENT, "smallest": TARGET}}.get(part, {})
    if "hospitals" in setting and part in ("tables", "images", "genotypes"):
        more["records"] = setting["hospitals"] * setting.get("size", EACH)
    return {**setting, **more}


def view_of(setting: dict) -> str | None:
    """Whose view it is."""
    if setting["part"] == "cost":
        return None
    active = (setting.get("model") == "imprint" or setting.get("how") == "same model"
              or setting.get("masks") in ("unbound", "bound"))
    single = setting.get("hospitals") == 1
    return "active " * active + "server" + " behind secure aggregation" * (not single)


def defence_of(setting: dict) -> str | None:
    """What stood in the way."""
    if setting["part"] == "cost":
        return {"masks": "secure aggregation", "CKKS": "homomorphic encryption"}.get(
            setting["side"])
    if setting.get("hospitals") == 1:
        return None
    if setting.get("masks") == "bound":
        return "secure aggregation, masks bound to the model"
    if setting.get("masks") == "unbound":
        return "secure aggregation, masks not bound to the model"
    if setting.get("how") == "fixed set":
        return "secure aggregation, the same hospitals in every round"
    return "secure aggregation"


def prior_of(setting: dict, key: str, outcomes: list[dict]) -> tuple[float | None, str]:
    """What needs no update, in the unit of ``key``."""
    def mean(name: str) -> float:
        return float(np.mean([outcome[name] for outcome in outcomes]))

    if setting["part"] in ("images", "genotypes") and key == "exact":
        return mean("nearest"), "the nearest public record, which takes an oracle"
    if setting["part"] in ("tables", "inconsistency") and key in ("exact", "fields"):
        return mean(f"typical_{key}"), "the likeliest value of each field in the public half"
    if key in ("cosine", "trend") and setting["part"] == "rounds":
        return mean("plain"), "the mean of all that was opened, for every hospital"
    if key.endswith("auc"):
        return 0.5, "chance"
    if key == "right":
        return mean("guess"), "the count that the share of the table leads one to expect"
    if key == "off":
        return mean("off_guess"), "the share among all hospitals, for each of them"
    if key.startswith("off_"):
        return mean("off_guess"), "the count that the share of the table leads one to expect"
    return None, "no guess applies"


def name_of(setting: dict) -> str:
    """A word for a condition: its part, then its settings."""
    words = [setting["part"]]
    for key in ORDER[setting["part"]]:
        value = setting[key]
        words.append(f"{value:02d}" if isinstance(value, int) else value.replace(" ", "_"))
    return "_".join(words)
