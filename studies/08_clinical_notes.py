"""Study 8: what a server reads of clinical notes in the update of a language model.

    notes    notes by grammar, batches of 1 to 16; which weights train (all, all with a tied head,
             the blocks alone, adapters of rank 8), a new model and a trained one, one local step
             and five (of the tied and the trained model, one note and two); beside them what the
             rows of the token table name without any order
    classes  a model that classifies notes: all weights, the blocks alone, adapters of rank 64
    width    the blocks alone, a new model, one step: batches against another width of the model
    rank     adapters of rising rank, one note, one local step and five
    real     sections of MTS-Dialog, the blocks alone, a new model, one step

A seed redraws notes, initial weights, training and its batches. The guess without an update is the
likeliest value of each field among 2,000 public notes of the same grammar. Controls: the update of
another patient, the fields of notes that are in no batch, and an attacker who is told one record
where there are two. A trained model has seen 400 public notes. Settings of the attack were chosen
on seeds 100 to 103.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

import leaklab
from leaklab.assess import notes as protocol
from leaklab.attacks.text import ordered_tokens, read_notes, token_set
from leaklab.data import mts_dialog, notes, notes_grammar
from leaklab.data.notes import FIELDS, Note
from leaklab.evidence import Evidence
from leaklab.federation import train_on
from leaklab.metrics import mean_interval, proportion_interval, text
from leaklab.runtime import generator
from leaklab.transformer import NoteModel, blocks_only, next_words, note_model, with_adapters
from leaklab.updates import LocalTraining, Recovered
from studies import by_condition

SEEDS = tuple(range(20))
LEARNING_RATE = 0.1
WIDTH = 128
REAL_WIDTH = 256  # sections are longer
RANK = 8
CLASSES = len(notes_grammar.DIAGNOSES)
BATCHES = (1, 2, 4, 8, 16)
WALK = 5  # local steps
CLASS_RANK = 64
FEW = (1, 2)
PUBLIC_SEED = 10_000
STRANGERS = 200
WARM_UP = LocalTraining(3e-3, local_steps=60, batch_size=16, optimiser="adam")
WIDTHS = (64, 256)
WIDTH_BATCHES = (1, 2, 4)
RANKS = (8, 32, 64, 96)
REAL_BATCHES = (1, 2, 4)


def trials() -> list[dict]:
    """Every setting of the study, for every seed."""
    settings = [{"part": "notes", "tied": tied, "trained": trained}
                for tied, trained in ((False, False), (False, True), (True, False))]
    settings += [{"part": "classes", "trained": trained} for trained in (False, True)]
    settings += [{"part": "width", "width": width} for width in WIDTHS]
    settings += [{"part": "rank"}, {"part": "real"}]
    return [{**setting, "seed": seed} for seed in SEEDS for setting in settings]


def run(setting: Mapping) -> dict:
    """Measure one trial."""
    parts = {"notes": run_notes, "classes": run_classes, "width": run_width, "rank": run_rank,
             "real": run_real}
    return parts[setting["part"]](**{k: v for k, v in setting.items() if k != "part"})


# --- The cast -----------------------------------------------------------------------------------


@functools.cache
def public() -> tuple[Note, ...]:
    """What everybody may know of such notes."""
    return notes.synthetic(2000, PUBLIC_SEED).notes


@functools.cache
def commonest_class() -> int:
    """The guess of a class without an update."""
    return int(labels(public()).mode().values)


@functools.cache
def victims(seed: int) -> tuple[Note, ...]:
    """The notes of the hospital; a batch is the first of them."""
    return notes.synthetic(max(BATCHES), seed).notes


def model(seed: int, *, width: int = WIDTH, tied: bool = False, words: int | None = None,
          classes: int | None = None, trained: bool = False) -> NoteModel:
    """The model that the hospital receives, new or trained on public notes."""
    net = note_model(generator(seed, "initial weights"), width=width, tied=tied, classes=classes,
                     vocabulary=words or len(notes.vocabulary()))
    if trained:
        inputs = protocol.tokens(public()[:400])
        targets = labels(public()[:400]) if classes else next_words(inputs)
        update = train_on(net, inputs, targets, WARM_UP,
                          generator=generator(seed, "training before"))
        net.load_state_dict(dict(update.after))
    return net


def labels(batch: Sequence[Note]) -> Tensor:
    """The classes of notes, shape (n,)."""
    return torch.tensor([note.label for note in batch])


def training_part(net: NoteModel, trains: str, seed: int, rank: int = RANK) -> NoteModel:
    """The model with what does not train frozen."""
    if trains == "blocks":
        return blocks_only(net)
    if trains == "adapters":
        return with_adapters(net, generator(seed, "adapters"), rank=rank)
    return net


def read(net: NoteModel, inputs: Tensor, seed: int, steps: int = 1, *,
         classes: Tensor | None = None, told: int | None = None) -> Recovered:
    """What the server reads of a hospital that trains on ``inputs``, told how many there are."""
    view = protocol.sent(net, inputs, LocalTraining(LEARNING_RATE, steps), seed, classes)
    return read_notes(net, view, records=told or len(inputs))


# --- Trials -------------------------------------------------------------------------------------


def run_notes(tied: bool, trained: bool, seed: int) -> dict:
    """Batches and local steps, for each choice of what trains."""
    net = model(seed, tied=tied, trained=trained)
    arms = ("tied",) if tied else ("all", "blocks") if trained else ("all", "blocks", "adapters")
    found = run_arms(net, arms, seed, walk=FEW if tied or trained else BATCHES)
    if not (tied or trained):
        found |= run_named(net, seed)
    return found if tied else found | run_control(net, seed)


def run_classes(trained: bool, seed: int) -> dict:
    """The same of a model that classifies."""
    net = model(seed, classes=CLASSES, trained=trained)
    arms = ("all", "blocks") if trained else ("all", "blocks", "adapters")
    return run_arms(net, arms, seed, walk=FEW, rank=CLASS_RANK) | run_set(net, seed)


def run_arms(net: NoteModel, arms: Sequence[str], seed: int, walk: Sequence[int],
             rank: int = RANK) -> dict:
    """All batches after one local step, those of ``walk`` after five."""
    found: dict[str, float] = {}
    for trains in arms:
        part = training_part(net, trains, seed, rank)
        for steps, batches in ((1, BATCHES), (WALK, walk)):
            for size in batches:
                scores = scored(part, victims(seed)[:size], seed, steps)
                found |= {f"{trains}_{size:02d}_{steps}_{key}": v for key, v in scores.items()}
    return found


def scored(net: NoteModel, batch: Sequence[Note], seed: int, steps: int) -> dict[str, float]:
    """Means over the notes of a batch; what is certain, and what of it is wrong."""
    inputs, classes = protocol.tokens(batch), labels(batch) if net.classifies else None
    answer = read(net, inputs, seed, steps, classes=classes)
    scores = {key: float(v.mean()) for key, v in protocol.judge(answer.guess, batch).items()}
    if net.classifies:
        said = answer.labels[text.align(answer.guess, inputs)]
        scores["class"] = float((said == classes).double().mean())
        scores["guess_class"] = float((commonest_class() == classes).double().mean())
    guess = {f"guess_{key}": float(v.mean())
             for key, v in protocol.guessed(public(), batch).items()}
    right = torch.tensor([line in inputs.tolist() for line in answer.guess.tolist()])
    sure = answer.certificate
    return scores | guess | {"certified": float(sure.double().mean()),
                             "false": int((sure & ~right).sum())}


def run_named(net: NoteModel, seed: int) -> dict[str, float]:
    """Fields whose words all moved: of the batch, and of strangers."""
    strangers = notes.synthetic(STRANGERS, PUBLIC_SEED + 1 + seed).notes
    found = {}
    for size in BATCHES:
        view = protocol.sent(net, protocol.tokens(victims(seed)[:size]),
                             LocalTraining(LEARNING_RATE), seed)
        words = token_set(net, view).guess
        for who, group in (("batch", victims(seed)[:size]), ("stranger", strangers)):
            named = text.fields_named(words, protocol.tokens(group), [n.spans for n in group])
            found |= {f"named_{size:02d}_{who}_{kind}": float(v.mean())
                      for kind, v in named.items()}
    return found


def run_set(net: NoteModel, seed: int) -> dict[str, float]:
    """Whether the rows that moved are those of the words of each batch, of a classifier."""
    found = {}
    for size in BATCHES:
        batch = victims(seed)[:size]
        view = protocol.sent(net, protocol.tokens(batch), LocalTraining(LEARNING_RATE), seed,
                             labels(batch))
        said = set(token_set(net, view).guess.tolist())
        found[f"set_{size:02d}"] = float(said == {t for note in batch for t in note.tokens})
        if size == 1:
            order = protocol.judge(ordered_tokens(net, view).guess, batch)
            found["ordered"] = float(order["verbatim"].mean())
    return found


def run_control(net: NoteModel, seed: int) -> dict[str, float]:
    """The first note, read from the update of the second; two notes, told that there is one."""
    part, pair, mine = blocks_only(net), protocol.tokens(victims(seed)[:2]), victims(seed)[:1]
    scores = protocol.judge(read(part, pair[1:], seed).guess, mine)
    mixed = read(part, pair, seed, told=1)
    return {"control_fields": float(np.mean([float(scores[kind]) for kind in FIELDS])),
            "control_told_one": float(mixed.certificate.double().mean())}


def run_width(width: int, seed: int) -> dict:
    """Batches read from models of one width."""
    net = blocks_only(model(seed, width=width))
    return {f"{size:02d}_{key}": value for size in WIDTH_BATCHES
            for key, value in scored(net, victims(seed)[:size], seed, 1).items()}


def run_rank(seed: int) -> dict:
    """One note, read from adapters."""
    net = model(seed)
    return {f"{rank:02d}_{steps}_{key}": value for rank in RANKS for steps in (1, WALK)
            for key, value in scored(training_part(net, "adapters", seed, rank),
                                     victims(seed)[:1], seed, steps).items()}


@functools.cache
def sections() -> tuple[notes.Corpus, notes.Corpus]:
    """The public and the private part of MTS-Dialog."""
    return mts_dialog.load()


def run_real(seed: int) -> dict:
    """Sections in real style: words and whole sections, since no field is marked."""
    _, private = sections()
    order = torch.randperm(len(private), generator=generator(seed, "sections")).tolist()
    net = blocks_only(model(seed, width=REAL_WIDTH, words=len(private.words)))
    found = {}
    for size in REAL_BATCHES:
        truth = protocol.tokens([private.notes[k] for k in order[:size]])
        guess = read(net, truth, seed).guess
        guess = guess[text.align(guess, truth)]
        found[f"{size}_verbatim"] = float(text.verbatim(guess, truth).mean())
        found[f"{size}_f1"] = float(text.token_f1(guess, truth).mean())
    common = commonest_words(max(REAL_BATCHES))
    found["guess_f1"] = float(text.token_f1(common, truth).mean())
    return found


def commonest_words(n: int) -> Tensor:
    """The guess without an update: the 32 commonest words of the public sections, ``n`` times."""
    counts = torch.bincount(torch.tensor([t for note in sections()[0].notes for t in note.tokens]))
    line = torch.zeros(notes.LENGTH, dtype=torch.long)
    line[:32] = counts.argsort(descending=True)[:32]
    return line.expand(n, -1)


# --- From trials to evidence ------------------------------------------------------------------


def summarise(results: list[tuple[dict, dict]]) -> list[Evidence]:
    """One statement a condition and quantity, from the trials of all seeds."""
    describe = {"notes": describe_notes, "classes": describe_classes, "width": describe_width,
                "rank": describe_rank, "real": describe_real}
    in_turn = sorted(results, key=lambda result: repr([*result[0].items()][:-1]))  # but for seeds
    items = [item for setting, outcomes in by_condition(in_turn)
             for item in describe[setting["part"]](setting, outcomes)]
    return [*items, false_claims(results)]


def describe_notes(setting: dict, outcomes: list[dict]) -> Iterator[Evidence]:
    """Fields read and notes certified by batch and steps, words named, the controls."""
    stage = "trained" if setting["trained"] else "new"
    for stem, name, where in conditions(outcomes, stage, RANK):
        yield from reading(name, stem, outcomes, where)
    if setting["tied"]:
        return
    where = {"stage": stage, "width": WIDTH, "learning_rate": LEARNING_RATE, "trains": "all"}
    for size in () if setting["trained"] else BATCHES:
        for kind in FIELDS:
            runs = {who: column(outcomes, f"named_{size:02d}_{who}_{kind}")
                    for who in ("batch", "stranger")}
            yield make(f"named_{stage}_{size:02d}_{kind}", "Share of strangers' fields of which "
                       "every word has moved in the token table; of the batch's own, all have.",
                       runs["stranger"],
                       {**where, "batch": size, "kind": kind, "own": float(runs["batch"].mean())})
    where = {**where, "trains": "blocks", "local_steps": 1}
    yield make(f"control_{stage}", "Share of the fields of one note that are read from the update "
               "of another.", column(outcomes, "control_fields"), {**where, "batch": 1})
    yield make(f"control_told_one_{stage}", "Share of batches of two of which the server, told "
               "that there is one note, is certain of its answer.",
               column(outcomes, "control_told_one"), {**where, "batch": 2, "told": 1})


def conditions(outcomes: list[dict], stage: str, rank: int) -> Iterator[tuple[str, str, dict]]:
    """Stem of the keys, name and setting of each choice of what trains, batch and steps."""
    for key in (key for key in outcomes[0] if key.endswith("_verbatim")):
        stem = key.removesuffix("_verbatim")
        trains, size, steps = stem.split("_")
        where = {"trains": trains, "stage": stage, "batch": int(size), "local_steps": int(steps),
                 "width": WIDTH, "learning_rate": LEARNING_RATE}
        if trains == "adapters":
            where["rank"] = rank
        yield stem, f"{trains}_{stage}_{size}_steps_{steps}", where


def describe_classes(setting: dict, outcomes: list[dict]) -> Iterator[Evidence]:
    """The same of a model that classifies, the classes read, and its token set and order."""
    stage = "trained" if setting["trained"] else "new"
    for stem, name, where in conditions(outcomes, stage, CLASS_RANK):
        where = {**where, "classes": CLASSES}
        yield from reading(f"class_{name}", stem, outcomes, where)
        yield make(f"class_said_{name}", "Share of notes whose class is read, by the note that was "
                   "read.", column(outcomes, f"{stem}_class"), where,
                   baseline=(float(column(outcomes, f"{stem}_guess_class").mean()),
                             "the commonest class of public notes"))
    where = {"trains": "all", "stage": stage, "local_steps": 1, "width": WIDTH,
             "learning_rate": LEARNING_RATE, "classes": CLASSES}
    for size in BATCHES:
        yield make(f"class_set_{stage}_{size:02d}", "Share of batches of which the rows that moved "
                   "are the words that occur, and no others.", column(outcomes, f"set_{size:02d}"),
                   {**where, "batch": size})
    yield make(f"class_ordered_{stage}", "Share of single notes that least squares puts in order.",
               column(outcomes, "ordered"), {**where, "batch": 1})


def reading(name: str, stem: str, outcomes: list[dict], where: dict) -> Iterator[Evidence]:
    """Fields, whole notes and certificates of one condition."""
    kinds = {kind: column(outcomes, f"{stem}_{kind}") for kind in FIELDS}
    guess = {kind: guessed(kind, where["batch"]) for kind in FIELDS}
    means = {kind: float(runs.mean()) for kind, runs in kinds.items()}
    yield make(f"fields_{name}", "Share of names, numbers, dates and diagnoses that are read as "
               "they stand in the notes.", np.mean(list(kinds.values()), 0),
               {**where, "by_kind": means, "guess_by_kind": {
                   kind: float(runs.mean()) for kind, runs in guess.items()}},
               baseline=(float(np.mean(list(guess.values()))), GUESS))
    yield make(f"gain_{name}", "How many more of the fields are read than guessed, as a share of "
               "all.", np.mean([kinds[kind] - guess[kind] for kind in FIELDS], 0), where,
               baseline=(0.0, GUESS), gain=True)
    yield make(f"verbatim_{name}", "Share of notes that are read to the last token.",
               column(outcomes, f"{stem}_verbatim"), where)
    yield make(f"certified_{name}", "Share of notes of which the server knows that it has read "
               "them.", column(outcomes, f"{stem}_certified"), where)


GUESS = "the likeliest values of each field among public notes, as many as the batch has notes"


@functools.cache
def guessed(kind: str, size: int) -> np.ndarray:
    """Share of a field that is found by naming its likeliest values, one a note; one share a seed.

    Each value is held against the note of the batch that it suits. Trials also measured a weaker
    guess, the one likeliest value for all notes.
    """
    from collections import Counter

    named = Counter(note.field(kind) for note in public()).most_common(size)
    found = [{note.field(kind) for note in victims(seed)[:size]}.intersection(dict(named))
             for seed in SEEDS]
    return np.array([len(values) / size for values in found])


def describe_width(setting: dict, outcomes: list[dict]) -> Iterator[Evidence]:
    """Fields read by width and batch."""
    for size in WIDTH_BATCHES:
        where = {"trains": "blocks", "stage": "new", "batch": size, "local_steps": 1,
                 "width": setting["width"], "learning_rate": LEARNING_RATE}
        yield from reading(f"width_{setting['width']:03d}_{size:02d}", f"{size:02d}", outcomes,
                           where)


def describe_rank(setting: dict, outcomes: list[dict]) -> Iterator[Evidence]:
    """Fields read by the rank of the adapters."""
    for rank in RANKS:
        for steps in (1, WALK):
            where = {"trains": "adapters", "stage": "new", "batch": 1, "local_steps": steps,
                     "width": WIDTH, "rank": rank, "learning_rate": LEARNING_RATE}
            yield from reading(f"rank_{rank:02d}_steps_{steps}", f"{rank:02d}_{steps}", outcomes,
                               where)


def describe_real(setting: dict, outcomes: list[dict]) -> Iterator[Evidence]:
    """Whole sections and words of MTS-Dialog."""
    guess = float(column(outcomes, "guess_f1").mean())
    for key in (key for key in outcomes[0] if key != "guess_f1"):
        size, what = key.split("_")
        where = {"trains": "blocks", "stage": "new", "batch": int(size), "local_steps": 1,
                 "width": REAL_WIDTH, "learning_rate": LEARNING_RATE}
        baseline = (guess, "the commonest words") if what == "f1" else (0.0, "nothing")
        statement = {"f1": "F1 of the bag of tokens of a section, mean.",
                     "verbatim": "Share of sections that are read to the last token."}[what]
        yield make(f"real_{what}_{size}", statement, column(outcomes, key), where,
                   baseline=baseline, real=True)


def false_claims(results: list[tuple[dict, dict]]) -> Evidence:
    """Draws in which anything was certified that is no note, over all conditions of fields.

    A draw's notes are read under many conditions, and its certified notes stand or fall together:
    the draw is what counts.
    """
    wrong, claimed = np.zeros(len(SEEDS)), np.zeros(len(SEEDS))
    for setting, outcome in results:
        seed = SEEDS.index(setting["seed"])
        for key in (key for key in outcome if key.endswith("_false")):
            stem = key.removesuffix("_false")
            wrong[seed] += outcome[key]
            claimed[seed] += outcome[f"{stem}_certified"] * batch_size(setting, stem)
    spoilt = int((wrong > 0).sum())
    item = make("certified_wrong", "Share of draws in which a certified note is not in its batch, "
                "under any condition.", wrong > 0,
                {"certified": round(float(claimed.sum())), "wrong": int(wrong.sum())})
    return replace(item, successes=spoilt, trials=len(SEEDS), clusters=len(SEEDS),
                   interval=proportion_interval(spoilt, len(SEEDS)),
                   interval_kind="95 % Clopper-Pearson over draws")


def batch_size(setting: Mapping, stem: str) -> int:
    """Notes in the batch of the condition whose keys begin with ``stem``."""
    size = {"notes": 1, "classes": 1, "width": 0}.get(setting["part"])
    return 1 if size is None else int(stem.split("_")[size])


def column(outcomes: list[dict], key: str) -> np.ndarray:
    """One number a seed."""
    return np.array([outcome[key] for outcome in outcomes])


def make(name: str, statement: str, runs, setting: dict, *,
         baseline: tuple[float, str] = (0.0, "nothing"), real: bool = False,
         gain: bool = False) -> Evidence:
    """Evidence from one share a seed; where all are 0 or all 1, with the exact interval.

    A ``gain`` is a difference of shares and may be below 0.
    """
    runs = tuple(float(value) for value in runs)
    low, high = mean_interval(runs)
    interval, kind, counts = (max(low, 0.0), min(high, 1.0)), "95 % t over draws, cut to 0 to 1", {}
    if gain:
        interval, kind = (low, high), "95 % t over draws"
    if set(runs) in ({0.0}, {1.0}):
        hits = round(sum(runs))
        interval, kind = proportion_interval(hits, len(runs)), "95 % Clopper-Pearson over draws"
        counts = {"successes": hits, "trials": len(runs)}
    data = sections()[1] if real else notes.synthetic(max(BATCHES), SEEDS[0])
    return Evidence(
        name=name, statement=statement, value=float(np.mean(runs)),
        unit="difference in share" if gain else "share", interval=interval, interval_kind=kind,
        baseline=baseline[0], baseline_kind=baseline[1], runs=runs, seeds=SEEDS[:len(runs)],
        data=data.provenance, data_sha256=data.sha256, scale="fast",
        version=leaklab.__version__, setting=setting, view="server", privacy_unit="note",
        **counts)
