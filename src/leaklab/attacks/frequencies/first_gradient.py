r"""The first update of a logistic model is a case-control table of allele counts.

A federation that starts from weights of zero predicts 1/2 for everybody. Then the residual of each
patient is plus or minus 1/2, and the gradient of the weights is

.. math:: g = \frac{1}{2n} \Bigl(\sum_{\text{controls}} x_i - \sum_{\text{cases}} x_i\Bigr),

the difference of the allele counts of controls and cases, over 2n; that of the bias is the
difference of their numbers. No patient can be taken out of this sum by algebra. But a case has
raised it by their own genotype, and a control lowered it: the test of
:func:`leaklab.attacks.frequencies.inner_product` finds the member, and its sign says which of the
two they are.

Threat model: a passive observer of one ``View`` of plain SGD in one full-batch step, from weights
of zero, who knows the SNPs and how they were scaled, holds the genotypes of the person it asks
about, and public allele frequencies. A sum over hospitals works alike, with all their patients as
the cohort.

Sources: membership from frequencies, Homer et al. (2008, doi:10.1371/journal.pgen.1000167); that
what a federated study of genomes exchanges is such statistics, and gives patients away,
Nasirigerdeh et al. (2021, doi:10.1145/3404835.3462996), for another model and by another attack.

Where it fails: weights that are not zero (refused: residuals are then unknown); several local
steps, momentum or Adam (refused); large or summed cohorts, linked SNPs, and another ancestry, as in
:mod:`leaklab.attacks.frequencies.statistics`; noise.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from leaklab.attacks.frequencies.statistics import FLOOR, checked
from leaklab.attacks.observed import mean_gradient
from leaklab.updates import Recovered, View

__all__ = ["allele_counts"]

Encoding = tuple[Tensor | float, Tensor | float]
INTEGRAL = 0.05
"""A count that lies this near to a whole number is taken for one."""


def case_control_means(
    model: nn.Module, view: View, *, encoding: Encoding = (0.0, 1.0)
) -> tuple[Tensor, Tensor]:
    r"""Mean over the patients of :math:`(2y - 1)\, x` and of :math:`2y - 1`; float64, (m,) and ().

    ``model`` is one linear layer with two classes, class 1 the cases. ``encoding`` is (mean,
    scale) of each input column: what went in was (dosage - mean) / scale.

    Raises ``ValueError`` for another model, weights that are not zero, more than one local step, or
    as :func:`leaklab.attacks.observed.mean_gradient` does.
    """
    layers = [layer for layer in model.modules() if not list(layer.children())]
    if len(layers) != 1 or not isinstance(layers[0], nn.Linear) or layers[0].out_features != 2 or (
            layers[0].bias is None):
        raise ValueError(f"model: {layers} given, expected one linear layer with a bias and two "
                         "outputs")
    moved = mean_gradient(model, view)
    if any(view.before[name].any() for name in moved):
        raise ValueError("view: weights that are not zero given, expected the first round of a "
                         "model that starts from zero: elsewhere residuals are unknown")
    steps = view.knowledge.training.local_steps
    if steps != 1:
        raise ValueError(f"view: {steps} local steps given, expected one")
    weight, bias = (next(-2 * g[1].double() for g in moved.values() if g.ndim == dimensions)
                    for dimensions in (2, 1))
    mean, scale = (torch.as_tensor(part, dtype=torch.float64).to(weight) for part in encoding)
    return weight * scale + mean * bias, bias


def allele_counts(
    model: nn.Module, view: View, *, encoding: Encoding = (0.0, 1.0)
) -> Recovered:
    """Copies of each counted allele among cases minus those among controls, whole numbers (m,).

    The view tells how many patients there were. ``score`` is minus the distance from the whole
    number, and ``certificate`` holds where that is small: a table of counts can be nothing else.

    Raises ``ValueError`` as :func:`case_control_means` does, and where the numbers of patients are
    unknown.
    """
    if view.weights is None:
        raise ValueError("view: numbers of patients unknown, expected weights")
    exact = case_control_means(model, view, encoding=encoding)[0] * sum(view.weights)
    whole = exact.round()
    off = (exact - whole).abs()
    return Recovered(whole.long(), score=-off, certificate=off < INTEGRAL)


def membership(
    model: nn.Module, view: View, dosages: Tensor, reference: Tensor, *,
    labels: Tensor | None = None, encoding: Encoding = (0.0, 1.0), floor: float = FLOOR,
) -> Recovered:
    r"""Who of ``dosages`` (k, m) was among the patients, given public frequencies (m,).

    .. math:: s(x) = \sum_j \frac{(x_j - 2 f_j)(\overline{(2y-1)\,x}_j - 2 f_j\,\overline{2y-1})}
              {2 f_j (1 - f_j)}

    is pushed up by :math:`m/n` for a case and down for a control. ``guess`` (k,) is 1 where it is
    above 0, a case if a member at all. ``score`` is its size; with ``labels`` (k,), 1 a case, it is
    the push in the direction of the label. :math:`d' = \sqrt{m/n}` if the label is known and cases
    are as many as controls: the reference's error then takes no part in the difference.

    Raises ``ValueError`` as :func:`case_control_means` does, and for shapes that do not match,
    dosages outside 0 to 2 or frequencies outside 0 to 1.
    """
    difference, balance = case_control_means(model, view, encoding=encoding)
    x, _, f = checked(dosages.to(difference.device), reference, reference)
    if difference.shape != f.shape or (labels is not None and len(labels) != len(x)):
        raise ValueError(f"dosages, labels: {x.shape[1]} SNPs and "
                         f"{'no' if labels is None else len(labels)} labels given, expected "
                         f"{len(difference)} SNPs and a label a person or none")
    spread = f.clamp(floor, 1 - floor)
    push = (x - 2 * f) @ ((difference - 2 * f * balance) / (2 * spread * (1 - spread)))
    signed = push.abs() if labels is None else push * (2 * labels.to(push) - 1)
    return Recovered((push > 0).long(), labels, signed)
