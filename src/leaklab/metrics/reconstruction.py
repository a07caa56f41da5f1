"""How close a reconstruction comes to the records, and what of that the update is to thank for.

A number alone says little. On chest radiographs the mean of public images, which needs no update,
reaches a peak signal-to-noise ratio that elsewhere counts as a leak. So each score here is one
per record, and :func:`uplift` takes from it, record by record, the score of a guess made without
the update. References from below: :func:`mean_image`, :func:`class_mean_images` where the attacker
is given the labels, and :func:`likeliest_record` for tables. From above: :func:`nearest_public`,
for which an oracle picks the public image that is closest to the truth.

Images have shape (n, channels, height, width) and values in [0, 1], tables (n, fields). An attack
answers in no particular order: put its guess in that of the records by :func:`match` first.
"""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.functional import conv2d, normalize

__all__ = [
    "exact_match_rate", "identification_rate", "match", "mean_image", "psnr", "ssim", "uplift",
]

EXACT_DB = 150.0
"""The highest PSNR given. Float32 values up to 1 are 2**-25 off when rounded, which is 150.5 dB."""


def match(guess: Tensor, truth: Tensor) -> Tensor:
    """Indices, shape (n,), such that ``guess[index]`` lines up with ``truth``.

    The assignment with the least total mean squared error. Shapes: both (n, ...). Clip images to
    [0, 1] before, as the scores do.

    Raises ``ValueError`` for different shapes or values not finite.
    Source: Kuhn (1955, doi:10.1002/nav.3800020109), as in ``scipy.optimize``.
    """
    _require_alike(guess, truth)
    _, index = linear_sum_assignment(_squared_distances(truth, guess).numpy())
    return torch.from_numpy(index).to(guess.device)


def psnr(guess: Tensor, truth: Tensor) -> Tensor:
    r"""Peak signal-to-noise ratio in dB of each image, :math:`-10\log_{10}` of its squared error.

    The guess is clipped to [0, 1]. An image that is exact gets :data:`EXACT_DB` and leaves the
    others as they are. Shapes: both (n, ...), result (n,) in float64.

    Raises ``ValueError`` for different shapes or values not finite.
    """
    _require_alike(guess, truth)
    error = (guess.clamp(0, 1).double() - truth.double()).flatten(1).square().mean(1)
    return (-10 * torch.log10(error)).clamp(max=EXACT_DB)


def ssim(guess: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity of each image, 1 where it is exact; the mean over channels.

    Gaussian windows of 11 x 11 pixels with a standard deviation of 1.5, placed where they fit
    whole. The guess is clipped to [0, 1]. Shapes: both (n, channels, height, width), result (n,)
    in float64.

    Raises ``ValueError`` for different shapes, values not finite, or images smaller than a window.
    Source: Wang et al. (2004, doi:10.1109/TIP.2003.819861), with K1 = 0.01 and K2 = 0.03.
    """
    _require_alike(guess, truth)
    if guess.ndim != 4 or min(guess.shape[2:]) < 11:
        raise ValueError(f"guess: shape {tuple(guess.shape)} given, expected (n, channels, "
                         "height, width) of 11 pixels a side or more")
    x, y = (t.double().flatten(0, 1).unsqueeze(1) for t in (guess.clamp(0, 1), truth))
    mean_x, mean_y = _blur(x), _blur(y)
    spread = _blur(x * x) - mean_x**2 + _blur(y * y) - mean_y**2
    shared = _blur(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    local = ((2 * mean_x * mean_y + c1) * (2 * shared + c2)
             / ((mean_x**2 + mean_y**2 + c1) * (spread + c2)))
    return local.reshape(len(guess), -1).mean(1)


def identified(guess: Tensor, truth: Tensor, gallery: Tensor, *,
               distance: str = "correlation") -> Tensor:
    """Whether each guess is nearer to its own record than to any other record of the gallery.

    ``gallery``, shape (N, ...), holds the records of ``truth``, shape (n, ...), and those of other
    patients; it is coded, and nobody is named. ``distance`` is ``"correlation"`` over the pixels
    of an image, which finds a patient in a guess that is dim, flat or clipped, or ``"mse"``, mean
    squared error, for tables with standardised columns. Of radiographs at 70 % brightness
    correlation identifies every one and squared error hardly one; under heavy noise without
    clipping squared error finds a few more. An expert may match more than either. Records at
    equal distance share the hit, as for one who draws among them; so guesses that ignore their
    record reach 1 / N on average.

    Shapes: ``guess`` as ``truth``; result (n,), float64 between 0 and 1. Raises ``ValueError`` for
    different shapes or values not finite, a record not in the gallery, or another distance.
    """
    _require_alike(guess, truth)
    if distance not in ("correlation", "mse"):
        raise ValueError(f"distance: {distance!r} given, expected 'correlation' or 'mse'")
    if gallery.shape[1:] != truth.shape[1:]:
        raise ValueError(f"gallery: records of shape {tuple(gallery.shape[1:])} given, expected "
                         f"{tuple(truth.shape[1:])}")
    own = _squared_distances(truth, gallery) == 0
    missing = int((~own.any(1)).sum())
    if missing:
        raise ValueError(f"gallery: {missing} of {len(truth)} records are not in it, expected all")
    if distance == "correlation":
        guess, gallery = _centred(guess), _centred(gallery)
    apart = _squared_distances(guess, gallery)
    nearest = apart <= apart.min(1, keepdim=True).values * (1 + 1e-9) + 1e-15  # rounding ties too
    return ((nearest & own).any(1) / nearest.sum(1).double()).to(truth.device)


def identification_rate(guess: Tensor, truth: Tensor, gallery: Tensor, *,
                        distance: str = "correlation") -> float:
    """The share of guesses that are nearer to their own record than to the rest of the gallery.

    Chance is ``1 / len(gallery)``. Shapes: guess and truth (n, ...), gallery (N, ...), of which
    ``truth`` is a part. ``distance`` and errors as in :func:`identified`.
    """
    return float(identified(guess, truth, gallery, distance=distance).mean())


def field_match_rate(guess: Tensor, truth: Tensor, tolerance: Tensor | float) -> float:
    """The share of all fields of all records that lie within ``tolerance``.

    Parameters as for :func:`exact_match_rate`. It overstates what is known of any one patient:
    a field with two values is right half of the time by guessing. Report the other beside it.
    """
    return float(_within(guess, truth, tolerance).double().mean())


def exact_match_rate(guess: Tensor, truth: Tensor, tolerance: Tensor | float) -> float:
    """The share of records of which every field lies within ``tolerance`` of the truth.

    Shapes: ``guess`` and ``truth`` (n, fields) in real units; ``tolerance`` one number or one a
    field, shape (fields,), in the same units, 0 for codes. NaN matches nothing.

    Raises ``ValueError`` for different shapes or a tolerance below 0.
    """
    return float(_within(guess, truth, tolerance).all(1).double().mean())


# --- What can be said without the update ------------------------------------------------------


def mean_image(public: Tensor, n: int = 1) -> Tensor:
    """The mean of public records, ``n`` times over: the guess of one who saw no update.

    Of all single guesses it has the least expected squared error. Shapes: (m, ...) to (n, ...).
    """
    return public.mean(0, keepdim=True).expand(n, *public.shape[1:])


def class_mean_images(public: Tensor, public_labels: Tensor, labels: Tensor) -> Tensor:
    """For each of ``labels``, the mean of the public records of that class.

    The fair reference for an attack that is given the labels, or has read them off the update.
    Shapes: (m, ...), (m,), (n,) to (n, ...). Raises ``ValueError`` for a class without records.
    """
    means = {}
    for label in labels.unique().tolist():
        members = public[public_labels == label]
        if len(members) == 0:
            raise ValueError(f"public: no record of class {label} given, expected one or more")
        means[label] = members.mean(0)
    return torch.stack([means[label] for label in labels.tolist()])


def likeliest_record(public: Tensor, tolerance: Tensor | float, n: int = 1) -> Tensor:
    """In each field the value within ``tolerance`` of most public records, ``n`` times over.

    The reference for match rates, as the mean is for squared error: a field's commonest code, or
    the measurement with the most neighbours. Made of values that occur, it has the highest
    :func:`field_match_rate` on the public records of all such. Shapes: (m, fields) to (n, fields).
    """
    width = torch.as_tensor(tolerance, dtype=public.dtype, device=public.device)
    best = [column[((column[:, None] - column).abs() <= w).sum(1).argmax()]
            for column, w in zip(public.T, width.expand(public.shape[1]), strict=True)]
    return torch.stack(best).expand(n, -1)


def nearest_public(truth: Tensor, public: Tensor) -> Tensor:
    """The public record closest to each of ``truth``: an upper reference that needs the truth.

    The best anyone could do by handing in public images, if told which. No attacker is told; a
    reconstruction that stays below it has shown no more of a patient than some other patient's
    image shows. Shapes: (n, ...) and (m, ...) to (n, ...). The records themselves and other
    images of the same patients do not belong in ``public``.
    """
    index = _squared_distances(truth, public).argmin(1)
    return public[index.to(public.device)]


def uplift(scores: Tensor, *priors: Tensor) -> Tensor:
    """What the update added to each record's score: ``scores`` minus those of the best prior.

    Each of ``priors`` holds the scores, shape (n,), of one way to guess the same records without
    the update, in the same unit (dB, points). The one with the highest mean is taken for all
    records: an attacker without the truth cannot pick the luckier of two for each. Nothing is
    clipped, since below 0 the attack did harm: the prior alone would have been closer. Scores of
    :func:`nearest_public` are no prior; report them beside.

    Raises ``ValueError`` for no prior, other shapes, or scores that are not finite.
    """
    if not priors:
        raise ValueError("priors: none given, expected scores of one guess or more")
    for name, values in (("scores", scores), *((f"priors[{k}]", p) for k, p in enumerate(priors))):
        if values.shape != scores.shape or values.ndim != 1:
            raise ValueError(f"{name}: shape {tuple(values.shape)} given, expected (n,) as scores")
        if not bool(torch.isfinite(values).all()):
            raise ValueError(f"{name}: values that are not finite given, expected finite scores")
    return scores - max(priors, key=lambda prior: float(prior.double().mean()))


def _require_alike(guess: Tensor, truth: Tensor) -> None:
    if guess.shape != truth.shape or guess.ndim < 2 or len(guess) == 0:
        raise ValueError(f"guess, truth: shapes {tuple(guess.shape)} and {tuple(truth.shape)} "
                         "given, expected the same (n, ...) with n of 1 or more")
    for name, records in (("guess", guess), ("truth", truth)):
        bad = int((~records.isfinite()).flatten(1).any(1).sum())
        if bad:
            raise ValueError(f"{name}: {bad} of {len(records)} records hold NaN or infinite values")


def _squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared error of each pair, shape (len(a), len(b)), float64 on the CPU.

    By differences: the usual expansion into products loses the small distances that matter here.
    """
    a, b = (t.detach().cpu().double().flatten(1) for t in (a, b))
    exact = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
    return exact.square() / a.shape[1]


def _centred(records: Tensor) -> Tensor:
    """Records of mean 0 and length 1, between which squared distance is 2 (1 - correlation).

    One without any contrast becomes 0, equally far from all.
    """
    flat = records.double().flatten(1)
    return normalize(flat - flat.mean(1, keepdim=True), dim=1)


def _blur(images: Tensor) -> Tensor:
    """Gaussian window means where the window fits whole; (n, 1, h, w) to (n, 1, h - 10, w - 10)."""
    steps = torch.arange(-5, 6, dtype=images.dtype, device=images.device)
    window = torch.exp(-0.5 * (steps / 1.5) ** 2)
    window = window / window.sum()
    return conv2d(conv2d(images, window.view(1, 1, -1, 1)), window.view(1, 1, 1, -1))


def _within(guess: Tensor, truth: Tensor, tolerance: Tensor | float) -> Tensor:
    width = torch.as_tensor(tolerance, dtype=torch.float64, device=guess.device)
    if guess.shape != truth.shape or guess.ndim != 2 or len(guess) == 0:
        raise ValueError(f"guess, truth: shapes {tuple(guess.shape)} and {tuple(truth.shape)} "
                         "given, expected the same (n, fields) with n of 1 or more")
    if width.shape not in ((), (guess.shape[1],)) or not bool((width >= 0).all()):
        raise ValueError(f"tolerance: {tolerance} given, expected one number of 0 or more, or "
                         f"{guess.shape[1]}, one a field")
    return (guess.double() - truth.double()).abs() <= width
