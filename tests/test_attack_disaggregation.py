"""Sums over changing sets are linear equations: what they determine is found, nothing else."""

import dataclasses
import importlib.util
import itertools

import pytest
import torch

from leaklab.attacks.disaggregation import SURE, disaggregate, single_views
from leaklab.defences.vectors import flat_change
from leaklab.federation import SERVER_BEHIND_SECURE_AGGREGATION
from leaklab.runtime import generator

if not all(map(importlib.util.find_spec, ("cryptography", "Crypto"))):
    pytest.skip("not installed: pip install leaklab[defences]", allow_module_level=True)
from leaklab.defences.secure_aggregation import Opened

NAMES = ("Aster", "Birch", "Cedar", "Dahlia")
SIZES = dict(zip(NAMES, (3, 5, 8, 20), strict=True))
ENTRIES = 30
BEFORE = {"b": torch.zeros(10, dtype=torch.float64), "a": torch.zeros(4, 5, dtype=torch.float64)}
CHANGES = {name: torch.randn(ENTRIES, generator=generator("change", name), dtype=torch.float64)
           for name in NAMES}


def sums(sets, drift=0.0, slope=0.0, key="sums"):
    """What is opened in rounds over ``sets``, each update moved by noise and by a trend."""
    source, opened = generator(key), []
    trends = {name: torch.randn(ENTRIES, generator=generator("trend", name), dtype=torch.float64)
              for name in NAMES}
    for place, chosen in zip(torch.linspace(-1, 1, len(sets)), sets, strict=True):
        total = sum(SIZES[name] for name in chosen)
        mean = sum(SIZES[name] * (
            CHANGES[name] + slope * place * trends[name]
            + drift * torch.randn(ENTRIES, generator=source, dtype=torch.float64))
            for name in chosen) / total
        opened.append(Opened(BEFORE, mean, tuple(chosen), total))
    return opened


def cosines(found):
    truth = torch.stack([CHANGES[name] for name in found.hospitals])
    return torch.cosine_similarity(found.recovered.guess, truth)


ALL_PAIRS = list(itertools.combinations(NAMES, 2))


def test_two_rounds_and_a_difference_by_hand():
    both, alone = sums([("Aster", "Birch"), ("Aster",)])
    found = disaggregate([both, alone])
    birch = 8 * both.mean - 3 * alone.mean
    torch.testing.assert_close(found.recovered.guess[1], birch / 5)
    torch.testing.assert_close(found.sizes, torch.tensor([3.0, 5.0], dtype=torch.float64))


def test_updates_that_stay_the_same_are_found_exactly_with_their_sizes():
    found = disaggregate(sums(ALL_PAIRS))
    for row, name in zip(found.recovered.guess, found.hospitals, strict=True):
        torch.testing.assert_close(row, CHANGES[name])
    torch.testing.assert_close(found.sizes,
                               torch.tensor(list(SIZES.values()), dtype=torch.float64))
    assert found.recovered.certificate.all()


def test_a_fixed_set_says_nothing_of_one_hospital_and_is_not_claimed():
    found = disaggregate(sums([NAMES] * 12))
    assert not found.recovered.certificate.any()
    assert float(found.recovered.score.max()) == 0
    together = torch.stack(list(CHANGES.values()))
    assert float(cosines(found).max()) < 0.99
    assert together.shape == found.recovered.guess.shape


def test_two_that_always_come_together_are_not_parted_but_the_others_are():
    sets = [("Aster", "Birch", "Cedar"), ("Aster", "Birch"), ("Cedar", "Dahlia"), ("Dahlia",),
            ("Aster", "Birch", "Dahlia"), ("Cedar",)]
    found = disaggregate(sums(sets))
    assert found.recovered.certificate.tolist() == [False, False, True, True]


def test_as_many_rounds_as_hospitals_are_not_claimed_since_nothing_checks_them():
    sets = [("Aster",), ("Aster", "Birch"), ("Birch", "Cedar"), ("Cedar", "Dahlia")]
    found = disaggregate(sums(sets))
    assert float(cosines(found).min()) > 0.999999
    assert not found.recovered.certificate.any()


@pytest.mark.parametrize("drift", [0.05, 0.2, 0.5])
def test_the_score_foretells_the_cosine(drift):
    scores, truth = [], []
    for key in range(12):
        found = disaggregate(sums(ALL_PAIRS * 4, drift, key=key))
        scores.append(found.recovered.score)
        truth.append(cosines(found))
        assert (truth[-1][found.recovered.certificate] > SURE - 0.02).all()
    assert float((torch.stack(scores).mean(0) - torch.stack(truth).mean(0)).abs().max()) < 0.08


def test_more_rounds_average_the_drift_out():
    few, many = (float(cosines(disaggregate(sums(ALL_PAIRS * times, 1.0))).mean())
                 for times in (2, 40))
    assert few < many
    assert many > 0.9


def test_a_trend_is_fitted_where_it_is_asked_for():
    """Who takes part is drawn, as a trend hides in an even design."""
    rounds = [tuple(name for name, here in zip(NAMES, row, strict=True) if here)
              for row in (torch.rand(40, 4, generator=generator("sets")) < 0.5).tolist()]
    rounds = [chosen for chosen in rounds if chosen]
    plain, fitted = (disaggregate(sums(rounds, slope=3.0), trend=trend)
                     for trend in (False, True))
    assert float(cosines(plain).min()) < 0.97
    torch.testing.assert_close(cosines(fitted), torch.ones(4, dtype=torch.float64))


def test_the_updates_can_be_attacked_like_single_ones():
    singles = single_views(disaggregate(sums(ALL_PAIRS)), BEFORE, SERVER_BEHIND_SECURE_AGGREGATION)
    for view in singles:
        assert view.artefact == "update"
        assert view.weights == (SIZES[view.contributors[0]],)
        torch.testing.assert_close(flat_change(view.before, view.after),
                                   CHANGES[view.contributors[0]])


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="rounds: 0 with"):
        disaggregate([])
    one, *rest = sums(ALL_PAIRS)
    with pytest.raises(ValueError, match=r"rounds: 6 with \[29, 30\] entries given"):
        disaggregate([dataclasses.replace(one, mean=one.mean[1:]), *rest])
