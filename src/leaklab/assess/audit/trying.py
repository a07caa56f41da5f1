"""One attack on one view, scored against the truth that an audit has, beside a blind guess.

Each attack here takes a :class:`Case` and answers an :class:`Outcome`, or raises ``ValueError``
where it does not apply. The attacks themselves stand in :mod:`leaklab.attacks`; what is tried on
what, and the papers, in :mod:`leaklab.assess.audit.suite`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import binary_cross_entropy_with_logits

from leaklab.assess.audit.inputs import Batch, Effort
from leaklab.assess.audit.subject import Anatomy, Subject
from leaklab.attacks import genotypes, labels, spear
from leaklab.attacks.gradient_matching import inverting_gradients
from leaklab.attacks.layers import dense_gradient
from leaklab.attacks.search import Budget
from leaklab.attacks.text.tokens import moved_rows
from leaklab.federation import Loss
from leaklab.metrics import reconstruction
from leaklab.metrics.roc import auc
from leaklab.runtime import generator, interrupts_passed_on
from leaklab.updates import View

CLOSE = 0.02  # of a column's range in public records: a value this near counts as read
MOST_DRAWN = 8  # records that a search of a dense layer is tried on
AUXILIARY = 64  # public records asked about labels
GALLERY = 200
FEWEST_MEMBERS = 8
BLIND_BATCHES = 200


@dataclass(frozen=True)
class Case:
    """A view and all that is needed to attack it and to score the answer.

    ``truth`` are the records behind the view, ``public`` what an attacker has beside it, and
    ``private`` the records among which a guess has to find its own.
    """

    subject: Subject
    anatomy: Anatomy
    loss: Loss
    view: View
    truth: Batch
    public: Batch
    private: Batch
    effort: Effort
    seconds: float | None
    seed: int


@dataclass(frozen=True)
class Outcome:
    """What one attack reached, and what a guess without the view reaches on the same records.

    ``details`` are further figures by name, and ``picture`` the images (guess, truth, blind).
    """

    value: float
    baseline: float
    details: dict[str, float]
    picture: tuple[Tensor, Tensor, Tensor] | None = None


def tolerance(public: Tensor) -> Tensor:
    """How near each entry of a record has to be to count as read, (entries,)."""
    flat = public.flatten(1)
    spread = flat.amax(0) - flat.amin(0)
    return CLOSE * torch.where(spread > 0, spread, spread.amax().clamp_min(1e-6))


def share_read(guesses: Tensor, truth: Tensor, near: Tensor) -> float:
    """The share of records, (n, entries), of which some guess, (m, entries), has every entry."""
    guesses = guesses.to(truth)
    hit = [((guesses - record).abs() <= near).all(1).any() for record in truth]
    return float(torch.stack(hit).double().mean())


# --- The attacks ------------------------------------------------------------------------------


def read_labels(case: Case) -> Outcome:
    """Classes off the last bias: by sign for one record, by counts for several."""
    n, head = len(case.truth), case.anatomy.head
    if head is None:
        raise ValueError("no linear layer with a bias gives the logits")
    bias = f"{head}.bias"
    classes = max(2, case.view.after[bias].shape[0])
    if len(case.view.after[bias]) == 1 and not _is_binary_cross_entropy(case):
        raise ValueError("the model has one output, and its loss is not binary cross-entropy")
    targets, known = _classes(case.truth.targets), _classes(case.public.targets)
    truth = torch.bincount(targets, minlength=classes)
    if n == 1:
        guess = labels.sign_rule(case.subject, case.view, bias=bias).guess
        said = torch.bincount(guess, minlength=classes)
    else:
        known_inputs = case.public.inputs[:AUXILIARY]
        if not _answers(case.subject, case.view.after, known_inputs).isfinite().all():
            raise ValueError("the model after the round answers NaN in eval mode")
        said = labels.label_counts(case.subject, case.view, batch_size=n, bias=bias,
                                   auxiliary=known_inputs).guess
    usual = torch.bincount(known, minlength=classes).double()
    blind = labels.largest_remainder(usual / usual.sum(), n)
    return Outcome(_overlap(said, truth), _blind_overlap(case, blind, n), {})


def read_rows(case: Case) -> Outcome:
    """Each neuron of the first dense layer gives one candidate: weight over bias gradient."""
    seen = dense_gradient(case.subject, case.view, _first(case))
    live = seen.gradient[:, -1].abs() > 8 * seen.noise[:, -1]
    rows = seen.gradient[live]
    return _against_records(case, rows[:, :-1] / rows[:, -1:])


def read_batch(case: Case) -> Outcome:
    """A batch out of the first dense layer, where a ReLU follows it."""
    n = len(case.truth)
    if n == 1:
        raise ValueError("one record stands behind the view: see neuron by neuron")
    if n > MOST_DRAWN:
        raise ValueError(_beyond(MOST_DRAWN))
    found = spear.batch(case.subject, case.view, layer=_first(case), batch_size=n,
                        generator=generator(case.seed, "draws"), draws=case.effort.draws)
    return _against_records(case, found.guess)


def read_genotypes(case: Case) -> Outcome:
    """Whole genomes out of the first dense layer."""
    _first(case)
    truth, public = case.truth.inputs, case.public.inputs
    if len(truth) == 1:
        found = genotypes.single(case.subject, case.view)
    else:
        frequencies = (public.double().mean(0) / 2).clamp(0.001, 0.999)
        found = genotypes.recover(case.subject, case.view, frequencies=frequencies,
                                  generator=generator(case.seed, "unmixing"),
                                  batch_size=len(truth), rounds=2)
    commonest = public.round().mode(0).values[None]
    near = torch.full_like(truth[0], 0.25)
    return Outcome(share_read(found.guess, truth, near), share_read(commonest, truth, near), {})


def name_tokens(case: Case) -> Outcome:
    """The words of the batch: rows of the token table that moved. Value: F1 of the two sets."""
    if case.anatomy.table is None:
        raise ValueError("no embedding looks up the tokens")
    moved, _ = moved_rows(case.subject, case.view, f"{case.anatomy.table}.weight")
    named, truth = set(moved.nonzero()[:, 0].tolist()), set(case.truth.inputs.flatten().tolist())
    counts = torch.bincount(case.public.inputs.flatten(), minlength=len(moved))
    usual = set(counts.argsort(descending=True)[:len(truth)].tolist())
    right = len(named & truth)
    return Outcome(_f1(named, truth), _f1(usual, truth),
                   {"precision": right / max(1, len(named)), "recall": right / len(truth)})


def search_inputs(case: Case) -> Outcome:
    """Images, or rows of a table, whose gradient is the one observed."""
    n = len(case.truth)
    if n > case.effort.most_searched:
        raise ValueError(_beyond(case.effort.most_searched))
    low, span = _range(case.public.inputs)
    truth, public, private = ((part.inputs - low) / span
                              for part in (case.truth, case.public, case.private))
    budget = Budget(case.effort.evaluations, seconds=case.seconds)
    # The fast kernels of attention have no second derivative.
    with interrupts_passed_on(), sdpa_kernel(SDPBackend.MATH):
        found = inverting_gradients(
            case.subject.scaled(low, span), case.view, shape=tuple(truth.shape), budget=budget,
            generator=generator(case.seed, "search"), labels=case.truth.targets,
            training_loss=case.loss)
    guess = found.guess[reconstruction.match(found.guess, truth)]
    blind = reconstruction.mean_image(public, n)
    scores = [reconstruction.psnr(each, truth.clamp(0, 1)) for each in (guess, blind)]
    distance = "correlation" if truth.ndim == 4 else "mse"
    others = (private[:, None] != truth).flatten(2).any(2).all(1)
    gallery = torch.cat([truth, private[others][:GALLERY]])
    # Guesses are put in the order of the records, so by chance each may meet any of them.
    matched = reconstruction.identified(guess, truth, gallery, distance=distance)
    details = {"PSNR": float(scores[0].mean()), "PSNR of the mean": float(scores[1].mean())}
    picture = (guess, truth, blind) if truth.ndim == 4 else None
    return Outcome(float(matched.mean()), n / len(gallery), details, picture)


def tell_members(case: Case) -> Outcome:
    """AUC of the loss between the round's records and public ones, under the model released."""
    members = case.truth
    n = min(len(members), len(case.public))
    if n < FEWEST_MEMBERS:
        raise ValueError(f"fewer than {FEWEST_MEMBERS} records trained the model")
    asked = torch.cat([members.inputs[:n], case.public.inputs[:n]])
    targets = torch.cat([members.targets[:n], case.public.targets[:n]])
    inside = torch.arange(2 * n, device=asked.device) < n
    fits = []
    for state in (case.view.after, case.subject.state_dict()):
        scores = _answers(case.subject, state, asked)
        losses = [float(case.loss(scores[i:i + 1], targets[i:i + 1])) for i in range(2 * n)]
        fits.append(auc(-torch.tensor(losses, dtype=torch.float64), inside.cpu()))
    return Outcome(*fits, {})


# --- Parts ------------------------------------------------------------------------------------


def _beyond(most: int) -> str:
    return f"it is tried on up to {most} records (a limit of this audit, no safety)"


def _classes(targets: Tensor) -> Tensor:
    """Targets as whole numbers, (n,)."""
    whole = targets.reshape(len(targets), -1)
    if whole.shape[1] != 1 or not torch.equal(whole, whole.round()) or whole.min() < 0:
        raise ValueError("targets are no classes, one a record")
    return whole[:, 0].long()


def _is_binary_cross_entropy(case: Case) -> bool:
    """Whether the loss of a model with one output is that, on what it answers now."""
    answers = _answers(case.subject, case.view.before, case.public.inputs[:AUXILIARY])
    targets = case.public.targets[:AUXILIARY]
    with torch.no_grad():
        said = case.loss(answers, targets)
    meant = binary_cross_entropy_with_logits(answers.flatten(), targets.to(answers).flatten())
    return torch.allclose(said.to(meant), meant, rtol=1e-3)


def _overlap(said: Tensor, truth: Tensor) -> float:
    """The share of labels right, for counts of each class (classes,)."""
    return float(torch.minimum(said, truth.to(said)).sum() / truth.sum())


def _blind_overlap(case: Case, blind: Tensor, n: int) -> float:
    """What ``blind`` reaches on average over batches of victims, which a few rounds would not
    tell."""
    draws, targets = generator(case.seed, "batches of labels"), _classes(case.private.targets)
    batches = (targets[torch.randperm(len(targets), generator=draws)[:n].to(targets.device)]
               for _ in range(BLIND_BATCHES))
    counts = [torch.bincount(batch, minlength=len(blind)) for batch in batches]
    return sum(_overlap(blind, count) for count in counts) / len(counts)


def _first(case: Case) -> str:
    if case.anatomy.first is None:
        raise ValueError("no linear layer with a bias takes the record itself")
    return case.anatomy.first


def _against_records(case: Case, guesses: Tensor) -> Outcome:
    truth, public = (part.inputs.flatten(1).double() for part in (case.truth, case.public))
    near = tolerance(public)
    blind = torch.cat([public.mean(0, keepdim=True),
                       reconstruction.likeliest_record(public, near)])
    return Outcome(share_read(guesses, truth, near), share_read(blind, truth, near), {})


def _f1(said: set[int], truth: set[int]) -> float:
    total = len(said) + len(truth)
    return 2 * len(said & truth) / total if total else 0.0


def _range(public: Tensor) -> tuple[Tensor, Tensor]:
    """Least value and range: of a channel, (1, channels, 1, 1), or of a column, (1, columns)."""
    over = (0, 2, 3) if public.ndim == 4 else (0,)
    low, high = public.amin(over, keepdim=True), public.amax(over, keepdim=True)
    return low, torch.where(high > low, high - low, torch.ones_like(low))


@torch.no_grad()
def _answers(subject: Subject, state, inputs: Tensor) -> Tensor:
    was = subject.training
    subject.eval()
    try:
        return torch.func.functional_call(subject, dict(state), (inputs,))
    finally:
        subject.train(was)
