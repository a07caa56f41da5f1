"""Checks of the exercises of chapters 3 to 9."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import tensor

from leaklab.teaching.checks.cases import Case, run_cases


def divide_out(attempt: Callable) -> None:
    """Check ``attempt(weight_gradient, bias_gradient)``: shapes (neurons, features), (neurons,)."""
    run_cases(attempt, [
        Case((tensor([[2.0, 6.0], [0.0, 0.0], [-1.0, -3.0]]), tensor([2.0, 0.0, -1.0])),
             tensor([1.0, 3.0]), "Each row is the record times the row's bias gradient."),
        Case((tensor([[0.2, 0.5], [1.1, 2.1], [-4.0, -8.0]]), tensor([0.1, 0.5, -2.0])),
             tensor([2.0, 4.0]), "Rounding weighs least in the row whose bias gradient is "
             "largest, whatever its sign."),
        Case((tensor([[0.5, -1.5]]), tensor([2.0])), tensor([0.25, -0.75]),
             "One neuron is enough, and entries need not be whole."),
    ])


def agreement(attempt: Callable) -> None:
    """Check ``attempt(records, slopes, weights, bias)``; slopes (records, neurons)."""
    records, bias = tensor([[1.0, 0.0], [0.0, 1.0]]), tensor([0.0, -1.0, 2.0])
    weights = tensor([[1.0, -1.0], [2.0, 2.0], [-1.0, -1.0]])
    true = tensor([[0.3, -0.2, 0.1], [0.0, 0.1, -0.4]])
    run_cases(attempt, [
        Case((records, true, weights, bias), tensor(1.0), "The first record switches on all three "
             "neurons, the second all but the first; there the slopes are not zero."),
        Case((records, tensor([[0.3, 0.0, 0.1], [0.2, 0.1, -0.4]]), weights, bias), tensor(4 / 6),
             "Two of the six pairs contradict: on with a slope of zero, off with another."),
        Case((records, true.flip(0), weights, bias), tensor(4 / 6),
             "Records and slopes belong together row by row."),
    ])


def whole_counts(attempt: Callable) -> None:
    """Check ``attempt(said, bias_gradient, batch_size)``: tensors (classes,) and a number."""
    run_cases(attempt, [
        Case((tensor([0.5, 0.5]), tensor([-0.25, 0.25]), 4), tensor([3.0, 1.0]),
             "The share is what the model says minus the bias gradient; times four records."),
        Case((tensor([0.3, 0.3, 0.4]), tensor([-0.1, -0.09, 0.19]), 6), tensor([3.0, 2.0, 1.0]),
             "2.4, 2.34 and 1.26 rounded alone make five: the sixth goes to the largest rest."),
        Case((tensor([0.4, 0.3, 0.3]), tensor([0.04, -0.04, 0.0]), 5), tensor([2.0, 2.0, 1.0]),
             "1.8, 1.7 and 1.5: whole parts first, then one each to the two largest rests."),
        Case((tensor([0.15, 0.6, 0.25]), tensor([0.0, 0.0, 0.0]), 4), tensor([1.0, 2.0, 1.0]),
             "0.6, 2.4 and 1: the largest rest goes first, not the largest count."),
    ])


def cosine_distance(attempt: Callable) -> None:
    """Check ``attempt(mine, observed)``: two gradients, lists of tensors."""
    along, across = [tensor([3.0]), tensor([0.0, 4.0])], [tensor([4.0]), tensor([0.0, -3.0])]
    run_cases(attempt, [
        Case((along, along), tensor(0.0), "A gradient and itself point the same way."),
        Case((along, across), tensor(1.0), "Sum the products over all tensors before you divide: "
             "the cosine of the whole gradient, not the mean of one per tensor."),
        Case((along, [-2 * t for t in along]), tensor(2.0), "The other way is 2, however long."),
        Case((along, [tensor([3.0]), tensor([0.0, 0.0])]), tensor(0.4),
             "The dot product is 9, the norms are 5 and 3."),
        Case(([tensor([3.0], requires_grad=True)], [tensor([-1.0])]),
             tensor(2.0, requires_grad=True), "A search follows the gradient of this distance."),
    ])


def total_variation(attempt: Callable) -> None:
    """Check ``attempt(image)``, shape (height, width)."""
    run_cases(attempt, [
        Case((tensor([[0.0, 4.0], [3.0, 9.0]]),), tensor(5.0),
             "One pixel has both neighbours: 3 down and 4 to the right."),
        Case((tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]),), tensor(0.0),
             "A flat image does not vary."),
        Case((tensor([[0.0, 1.0, 2.0]] * 3),), tensor(1.0),
             "Take the mean over pixels, not the sum."),
        Case((tensor([[0.0, -4.0, -4.0], [-3.0, 0.0, 0.0]]),), tensor(4.5),
             "Squares under the root: 5 at the first pixel, 4 at the second."),
        Case((tensor([[0.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 4.0, 0.0]]),),
             tensor((6 + 10**0.5) / 4), "0, 3, 3 and the root of 1 + 9: each pixel's own two."),
        Case((tensor([[0.0, 0.0], [2.0, 0.0]], requires_grad=True),),
             tensor(2.0, requires_grad=True), "A search follows the gradient of this roughness."),
    ])


def uplift(attempt: Callable) -> None:
    """Check ``attempt(scores, priors)``: a tensor (n,) and a list of such."""
    run_cases(attempt, [
        Case((tensor([30.0, 20.0]), [tensor([18.0, 22.0])]), tensor([12.0, -2.0]),
             "With one prior, subtract it. Below 0 the attack did harm: do not clip."),
        Case((tensor([30.0, 20.0]), [tensor([10.0, 24.0]), tensor([20.0, 16.0])]),
             tensor([10.0, 4.0]), "The second prior has the higher mean: it counts for both."),
        Case((tensor([5.0]), [tensor([1.0]), tensor([4.0]), tensor([2.0])]), tensor([1.0]),
             "Look at all priors."),
    ])


def independent_numbers(attempt: Callable) -> None:
    """Check ``attempt(records, classes, features)``, whole numbers."""
    run_cases(attempt, [
        Case((4, 10, 100), 4 * (9 + 100 - 4), "Rank 4, of a matrix with 9 free rows."),
        Case((4, 2, 100), 1 * (1 + 100 - 1),
             "Each column sums to zero: with two classes one row gives the other."),
        Case((50, 20, 12), 12 * (19 + 12 - 12), "No rank exceeds the number of features."),
        Case((15, 20, 12), 12 * (19 + 12 - 12), "Records, classes less one, features: the least."),
    ])


def leak_shown(attempt: Callable) -> None:
    """Check ``attempt(uplift, identified, gallery)``: two intervals and a number."""
    run_cases(attempt, [
        Case(((0.5, 9.0), (0.0, 0.1), 200), True, "Uplift lies above 0: enough."),
        Case(((-5.0, -1.0), (0.3, 0.8), 200), True,
             "The picture is bad, and yet its patient is found far above chance."),
        Case(((-1.0, 4.0), (0.0, 0.2), 200), False,
             "Both intervals hold what needs no update."),
        Case(((-1.0, 0.0), (0.05, 0.3), 10), False, "Of ten, chance finds a tenth."),
        Case(((0.0, 4.0), (0.25, 0.5), 4), False, "To touch what needs no update is not enough."),
    ])


def moved_tokens(attempt: Callable) -> None:
    """Check ``attempt(before, after)``: token tables, shape (vocabulary, width)."""
    before = tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]])
    run_cases(attempt, [
        Case((before, before + tensor([[0.0, 0.0], [0.5, 0.5], [0.0, 0.0], [-1.0, 0.0]])),
             tensor([1, 3]), "A row that moved, up or down, belongs to a token that occurs."),
        Case((before, before + tensor([[0.0, 0.2], [0.0, 0.0], [0.3, -0.3], [0.0, 0.0]])),
             tensor([0, 2]), "Look at every column; changes of a row may cancel in its sum."),
        Case((before, before), tensor([], dtype=torch.long), "Nothing moved: no token is known."),
    ])


def words_in_order(attempt: Callable) -> None:
    """Check ``attempt(places, rows)``: gradients, shapes (places, width) and (tokens, width)."""
    places = tensor([[1.0, 0.0, 0.0], [4.0, 1.0, 0.0], [0.0, 0.0, 2.0]])
    run_cases(attempt, [
        Case((places, places[[2, 0, 1]]), tensor([1, 2, 0]), "A row is the gradient of a place."),
        Case((places, torch.stack([places[1], places[0] + places[2]])), tensor([1, 0, 1]),
             "The second token stands in two places: its row is their sum, near neither."),
        Case((places, torch.stack([places[0] + places[1], places[2]])), tensor([0, 0, 1]),
             "Solve for all places together; places may point nearly the same way."),
    ])


def outside_span(attempt: Callable) -> None:
    """Check ``attempt(gradient, inputs)``: shapes (out, in) and (in,); a share of 0 to 1."""
    plane = tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    run_cases(attempt, [
        Case((plane, tensor([3.0, 4.0, 0.0])), tensor(0.0), "It is a sum of the rows."),
        Case((plane, tensor([3.0, 0.0, 4.0])), tensor(0.8),
             "4 of a length of 5 stand outside: divide by the length of the input."),
        Case((tensor([[1.0, 1.0, 0.0], [2.0, 2.0, 0.0]]), tensor([1.0, -1.0, 0.0])), tensor(1.0),
             "The rows point one way: that is a line, and no plane."),
        Case((tensor([[0.0, 5.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]),
              tensor([0.0, 0.0, 2.0])), tensor(1.0), "Rows, and not columns, are sums of inputs."),
    ])


def neighbours(attempt: Callable) -> None:
    """Check ``attempt(weight_gradient, bias_gradient)``: (bins, features) and (bins,)."""
    run_cases(attempt, [
        Case((tensor([[-1.0, 3.0], [-3.0, -1.0], [-3.0, -1.0]]), tensor([1.0, -1.0, -1.0])),
             tensor([[1.0, 2.0], [3.0, 1.0]]),
             "Take the next row away from each and divide; leave out bins without a slope. The "
             "last row has no neighbour: it holds the records of the last bin as it is."),
        Case((tensor([[2.0, 4.0], [0.0, 0.0]]), tensor([2.0, 0.0])), tensor([[1.0, 2.0]]),
             "The upper bin is empty, so the lower row is its record times its slope."),
        Case((tensor([[0.5, 1.0], [0.5, 1.0]]), tensor([0.5, 0.5])), tensor([[1.0, 2.0]]),
             "Both neurons see the same record: it lies above both thresholds."),
        Case((tensor([[2.5, -2.0], [1.0, 2.0]]), tensor([1.0, -1.0])),
             tensor([[0.75, -2.0], [-1.0, -2.0]]), "Entries may be below zero, and not whole."),
    ])


def bins_needed(attempt: Callable) -> None:
    """Check ``attempt(records, share)``: a number above 1 and one between 0 and 1."""
    run_cases(attempt, [
        Case((2, 0.5), 2, "Two bins: the other record is elsewhere with a chance of one half, "
             "and that is enough."),
        Case((64, 0.5), 92, "There are 63 others, and each has to miss the bin. Round up."),
        Case((1280, 0.05), 428, "The same for a sum over hospitals: only the number counts."),
    ])


def alarm_bound(attempt: Callable) -> None:
    """Check ``attempt(models)``: how many honest models were tried without an alarm."""
    run_cases(attempt, [
        Case((1,), 0.95, "With one model, a rate of 0.95 leaves a chance of 0.05 for silence."),
        Case((2,), 1 - 0.05**0.5, "Two silent models in a row: the chances multiply."),
        Case((300,), 1 - 0.05 ** (1 / 300), "About three over the number of models, and not zero."),
    ])


def rest_of(attempt: Callable) -> None:
    """Check ``attempt(after, total, parts)``: a tensor, a count, (tensor, count) pairs."""
    a, b, c = tensor([1.0, 2.0]), tensor([3.0, -2.0]), tensor([5.0, 6.0])
    run_cases(attempt, [
        Case(((a + b + c) / 3, 3, [(a, 1)]), (b + c) / 2,
             "One colluder of three equal hospitals: the mean of the other two is left."),
        Case(((10 * a + 30 * b + 60 * c) / 100, 100, [(a, 10), (b, 30)]), c,
             "Two of three collude, and hold the third. Weigh each part by its records."),
        Case((a, 7, []), a, "With no part known, the global model is all there is."),
        Case((tensor([1.0]), 4, [(tensor([0.5]), 1)]), tensor([3.5 / 3]),
             "4 less 0.5, over the three records that are left: do not round."),
    ])


def owner_chance(attempt: Callable) -> None:
    """Check ``attempt(counts)``: a list of whole numbers."""
    run_cases(attempt, [
        Case(([1, 1, 1, 1],), 0.25, "Four hospitals with a record each: one in four."),
        Case(([6, 2],), 0.75, "Name the larger hospital each time: right for 6 of 8 records."),
        Case(([2, 3, 4],), 4 / 9, "The largest need not come first, nor hold most records."),
        Case(([5],), 1.0, "Where one other hospital is left, its records are its own."),
    ])


def kalman_update(attempt: Callable) -> None:
    """Check ``attempt(mean, variance, measured, noise_std)``, numbers."""
    run_cases(attempt, [
        Case((0.0, 1.0, 2.0, 1.0), 1.0, "Equally sure of both: meet half way."),
        Case((1.0, 4.0, 2.0, 1.0), 1.8, "The guess is four times as uncertain as the measurement: "
             "go four fifths of the way. Square noise_std, and not the variance."),
        Case((0.5, 1.0, 9.0, 3.0), 1.35, "A measurement with nine times the variance moves the "
             "guess by a tenth of the way."),
    ])


def reconstruction_bound(attempt: Callable) -> None:
    """Check ``attempt(candidates, noise_multiplier)``: a number of records, and the noise."""
    run_cases(attempt, [
        Case((2, 1.0), 0.841344746, "Of two, chance is a half with quantile 0; add 1 / noise."),
        Case((200, 1e12), 0.005, "Noise without limit leaves chance, one in 200."),
        Case((40, 0.5), 0.515967793, "The quantile of 1 / 40 is -1.96; add 2."),
        Case((2, 2.0), 0.691462461, "Twice the noise, half the signal: Phi(0 + 0.5)."),
    ])
