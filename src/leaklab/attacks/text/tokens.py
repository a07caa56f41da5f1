"""Which words occur: rows of the token table that moved; see :mod:`leaklab.attacks.text`."""

from __future__ import annotations

from torch import Tensor

from leaklab.attacks.observed import mean_gradient, rounding
from leaklab.transformer import NoteModel
from leaklab.updates import Recovered, View


def token_set(model: NoteModel, view: View) -> Recovered:
    """The tokens whose embedding moved, in rising order; shape (tokens,).

    ``score`` is how far each row moved. Of one hospital's update no other token is ever named: a
    row without gradient stays as it was, bit for bit. One pass over the table, so that there is no
    budget to set. Raises ``ValueError`` as :func:`leaklab.attacks.observed.mean_gradient` does,
    and where no row moved. Source: Gupta et al. (2022, arXiv:2205.08514).
    """
    moved, rows = moved_rows(model, view, "tokens.weight")
    if not moved.any():
        raise ValueError("view: no token embedding moved, expected an update that trains them; "
                         "sequences() needs none")
    return Recovered(moved.nonzero()[:, 0], score=rows.norm(dim=1)[moved])


def moved_rows(model: NoteModel, view: View, name: str) -> tuple[Tensor, Tensor]:
    """Which rows of the table ``name`` moved beyond rounding, and the gradient of all rows.

    Shapes (rows,) and (rows, width). Raises ``ValueError`` as
    :func:`leaklab.attacks.observed.mean_gradient` does.
    """
    rows = mean_gradient(model, view)[name]
    return (rows.abs() > rounding(model, view)[name]).any(1), rows
