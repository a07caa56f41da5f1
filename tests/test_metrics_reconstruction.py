"""Scores of a reconstruction: known answers, an independent library, and no leak out of nothing."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from leaklab.data import radiology
from leaklab.metrics.reconstruction import (
    EXACT_DB,
    class_mean_images,
    exact_match_rate,
    field_match_rate,
    identification_rate,
    identified,
    likeliest_record,
    match,
    mean_image,
    nearest_public,
    psnr,
    ssim,
    uplift,
)
from leaklab.runtime import generator

SHAPES = [(3, 1, 28, 28), (2, 3, 16, 21), (4, 2, 11, 11)]


def images(*key: object, shape=(4, 1, 12, 12)) -> torch.Tensor:
    return torch.rand(shape, generator=generator(*key))


# --- Order ----------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(st.permutations(range(6)), st.integers(0, 10**6))
def test_a_shuffled_batch_is_put_back_in_order(order, seed):
    truth = images(seed, shape=(6, 1, 4, 4))
    guess = truth[list(order)] + 0.01 * images(seed, "noise", shape=truth.shape)
    index = match(guess, truth)
    assert [order[k] for k in index.tolist()] == list(range(6))


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 5), st.integers(0, 10**6))
def test_no_other_order_has_a_smaller_error(n, seed):
    guess, truth = images(seed, "g", shape=(n, 2)), images(seed, "t", shape=(n, 2))

    def error(order):
        return float((guess[list(order)] - truth).square().mean())

    best = min(map(error, itertools.permutations(range(n))))
    assert error(match(guess, truth).tolist()) == pytest.approx(best, abs=1e-7)


def test_taking_the_nearest_guess_for_each_record_is_not_a_matching():
    truth = torch.tensor([[0.0], [1.0]])
    guess = torch.tensor([[0.4], [-3.0]])  # the first is nearest to both
    assert (truth[:, None] - guess[None]).abs().sum(2).argmin(1).tolist() == [0, 0]
    assert match(guess, truth).tolist() == [1, 0]


def test_close_records_far_from_zero_are_told_apart():
    truth = 1e4 + torch.tensor([[0.0], [0.01], [0.02]], dtype=torch.float64)
    assert match(truth.flip(0).float().double(), truth).tolist() == [2, 1, 0]


# --- Image scores ---------------------------------------------------------------------------


def test_psnr_by_hand():
    truth = torch.zeros(3, 1, 2, 2)
    guess = torch.stack([torch.full((1, 2, 2), 0.1), torch.ones(1, 2, 2),
                         torch.tensor([[[0.2, 0.0], [0.0, 0.0]]])])
    expected = [20.0, 0.0, -10 * math.log10(0.04 / 4)]
    assert psnr(guess, truth).tolist() == pytest.approx(expected, abs=1e-5)


def test_an_exact_image_is_capped_and_leaves_the_others_alone():
    truth = images("exact")
    guess = truth.clone()
    guess[1] += 0.1 * (truth[1] < 0.5)
    scores = psnr(guess, truth)
    assert scores[[0, 2, 3]].tolist() == [EXACT_DB] * 3
    assert 20 < float(scores[1]) < 30
    assert bool(ssim(guess, truth)[[0, 2, 3]].eq(1).all())
    half_a_unit = truth.double() + 2**-25
    assert float(psnr(half_a_unit.clamp(0, 1), truth.double()).min()) > EXACT_DB - 1


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scores_agree_with_scikit_image(shape, dtype):
    truth = images("truth", shape=shape).to(dtype)
    smooth = torch.nn.functional.avg_pool2d(truth, 3, 1, 1)
    for guess in (images("other", shape=shape).to(dtype), smooth, 1 - truth, 0.5 * truth + 0.2):
        pairs = list(zip(guess.numpy(), truth.numpy(), strict=True))
        similar = [structural_similarity(t, g, gaussian_weights=True, sigma=1.5, data_range=1,
                                         use_sample_covariance=False, channel_axis=0)
                   for g, t in pairs]
        ratio = [peak_signal_noise_ratio(t, g, data_range=1) for g, t in pairs]
        assert ssim(guess, truth).tolist() == pytest.approx(similar, abs=1e-4)
        assert psnr(guess, truth).tolist() == pytest.approx(ratio, abs=1e-4)


def test_agreement_holds_on_radiographs():
    pictures = torch.tensor(radiology.load("chest", source="synthetic", n=6).inputs)
    guess = mean_image(pictures[3:], 3)
    expected = [structural_similarity(t[0].numpy(), g[0].numpy(), gaussian_weights=True, sigma=1.5,
                                      use_sample_covariance=False, data_range=1)
                for g, t in zip(guess, pictures[:3], strict=True)]
    assert ssim(guess, pictures[:3]).tolist() == pytest.approx(expected, abs=1e-4)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.floats(0.0, 1.0))
def test_scores_are_symmetric_bounded_and_one_per_image(seed, blend):
    truth = images(seed, "t")
    guess = torch.lerp(images(seed, "g"), truth, blend)
    similar = ssim(guess, truth)
    torch.testing.assert_close(similar, ssim(truth, guess))
    torch.testing.assert_close(psnr(guess, truth), psnr(truth, guess))
    assert bool((similar.abs() <= 1 + 1e-12).all())
    for k in range(len(truth)):
        torch.testing.assert_close(similar[k:k + 1], ssim(guess[k:k + 1], truth[k:k + 1]))


def test_values_out_of_range_count_as_the_nearest_in_range():
    truth = images("t")
    wild = images("g") * 4 - 2
    for score in (psnr, ssim):
        torch.testing.assert_close(score(wild, truth), score(wild.clamp(0, 1), truth))


# --- Identification -------------------------------------------------------------------------


def test_identification_by_hand():
    gallery = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    truth = gallery[[1, 2, 3]]
    guess = torch.tensor([[0.9], [1.5], [0.2]])  # own record; halfway to another; another's
    assert identified(guess, truth, gallery, distance="mse").tolist() == [1.0, 0.5, 0.0]
    assert identification_rate(guess, truth, gallery, distance="mse") == 0.5


def test_correlation_is_that_of_numpy():
    gallery, guess = images("gallery", shape=(30, 1, 6, 6)), images("guess", shape=(30, 1, 6, 6))
    guess = torch.lerp(guess, gallery, 0.15)
    both = np.corrcoef(guess.flatten(1).numpy(), gallery.flatten(1).numpy())[:30, 30:]
    expected = both.argmax(1) == np.arange(30)
    assert 0 < expected.sum() < 30
    assert identified(guess, gallery, gallery).tolist() == expected.tolist()


def test_a_dim_or_bright_picture_of_a_patient_is_still_a_picture_of_the_patient():
    pictures = torch.tensor(radiology.load("chest", source="synthetic", n=40).inputs)
    for guess in (0.5 * pictures, 0.5 * pictures + 0.5):
        assert identification_rate(guess, pictures, pictures) == 1.0
        assert identification_rate(guess, pictures, pictures, distance="mse") < 0.5


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 12), st.integers(0, 10**6), st.sampled_from(["correlation", "mse"]),
       st.sampled_from(["mean", "random", "flat"]))
def test_one_guess_for_all_reaches_chance_and_no_more(n, seed, distance, kind):
    gallery = images(seed, "gallery", shape=(n, 5))
    guess = {"mean": mean_image(gallery), "random": images(seed, "guess", shape=(1, 5)),
             "flat": torch.full((1, 5), 0.5)}[kind]
    rate = identification_rate(guess.expand(n, -1), gallery, gallery, distance=distance)
    assert rate == pytest.approx(1 / n)


def test_a_flat_guess_is_equally_far_from_all():
    gallery = images("gallery", shape=(8, 1, 4, 4))
    flat = torch.full_like(gallery[:3], 0.5)
    assert identified(flat, gallery[:3], gallery).tolist() == [1 / 8] * 3


def test_guesses_that_know_nothing_reach_chance():
    gallery = images("gallery", shape=(50, 6))
    rate = identification_rate(images("blind", shape=(5000, 6)), gallery.repeat(100, 1), gallery)
    assert rate == pytest.approx(1 / 50, abs=0.01)


@pytest.mark.parametrize("distance", ["correlation", "mse"])
def test_patients_with_the_same_record_cannot_be_told_apart(distance):
    gallery = torch.tensor([[0.0, 1.0, 0.3], [1.0, 0.0, 0.3], [1.0, 0.0, 0.3]])
    own = gallery[1:2]
    assert identified(own + 0.01, own, gallery, distance=distance).tolist() == [0.5]


def test_a_gallery_without_the_record_is_refused():
    gallery = images("gallery", shape=(5, 3))
    with pytest.raises(ValueError, match="gallery: 1 of 2 records are not in it, expected all"):
        identified(gallery[:2], gallery[:2] + torch.tensor([[0.0], [1e-3]]), gallery)
    with pytest.raises(ValueError, match=r"gallery: records of shape \(3,\) given"):
        identified(gallery[:2, :2], gallery[:2, :2], gallery)
    with pytest.raises(ValueError, match="distance: 'ssim' given, expected 'correlation' or"):
        identified(gallery, gallery, gallery, distance="ssim")


# --- Tables ---------------------------------------------------------------------------------

AGE_SEX_PRESSURE = torch.tensor([1.0, 0.0, 5.0])


def test_match_rates_by_hand():
    truth = torch.tensor([[63.0, 1.0, 145.0], [37.0, 0.0, 130.0], [41.0, 0.0, 120.0]])
    guess = truth + torch.tensor([[0.5, 0.0, -5.0], [0.0, 0.1, 0.0], [0.0, 0.0, math.nan]])
    assert exact_match_rate(guess, truth, AGE_SEX_PRESSURE) == pytest.approx(1 / 3)
    assert field_match_rate(guess, truth, AGE_SEX_PRESSURE) == pytest.approx(7 / 9)
    assert exact_match_rate(truth, truth, 0.0) == 1.0


def test_fields_known_are_not_records_known():
    """A coin for each of ten fields: half of the fields, hardly a record."""
    truth = torch.randint(2, (400, 10), generator=generator("truth")).float()
    guess = torch.randint(2, (400, 10), generator=generator("coins")).float()
    assert field_match_rate(guess, truth, 0) == pytest.approx(0.5, abs=0.03)
    assert exact_match_rate(guess, truth, 0) < 0.01


@pytest.mark.parametrize("tolerance", [-1.0, math.nan, torch.tensor([1.0, 2.0])])
def test_an_unusable_tolerance_is_refused(tolerance):
    with pytest.raises(ValueError, match=r"tolerance: .* expected one number of 0 or more, or 3"):
        exact_match_rate(torch.zeros(2, 3), torch.zeros(2, 3), tolerance)


# --- References -----------------------------------------------------------------------------


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.floats(-0.5, 0.5))
def test_no_constant_guess_has_less_squared_error_than_the_mean(seed, off):
    public = images(seed, shape=(7, 2))
    error = (mean_image(public, 7) - public).square().mean()
    assert float(error) <= float((mean_image(public, 7) + off - public).square().mean()) + 1e-7


def test_each_class_has_its_mean_and_a_class_unseen_is_named():
    public = torch.tensor([[0.0], [2.0], [10.0]])
    classes = torch.tensor([0, 0, 1])
    assert class_mean_images(public, classes, torch.tensor([1, 0, 1])).tolist() == [[10], [1], [10]]
    with pytest.raises(ValueError, match="public: no record of class 2 given"):
        class_mean_images(public, classes, torch.tensor([0, 2]))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.2, 1.0]))
def test_no_constant_of_the_table_matches_more_public_fields(seed, tolerance):
    public = torch.randint(4, (9, 3), generator=generator(seed)).float()
    best = field_match_rate(likeliest_record(public, tolerance, 9), public, tolerance)
    assert all(best >= field_match_rate(row.expand(9, -1), public, tolerance) for row in public)


def test_the_nearest_public_image_beats_every_other_public_image():
    public, truth = images("public", shape=(20, 1, 4, 4)), images("truth", shape=(3, 1, 4, 4))
    best = psnr(nearest_public(truth, public), truth)
    for candidate in public:
        assert bool((psnr(candidate.expand_as(truth), truth) <= best).all())
    assert torch.equal(nearest_public(public[4:6], public), public[4:6])


# --- Uplift ---------------------------------------------------------------------------------


def test_uplift_is_paired_and_takes_one_prior_for_all_records():
    scores = torch.tensor([30.0, 20.0, 25.0])
    mean, of_class = torch.tensor([19.0, 21.0, 20.0]), torch.tensor([24.0, 18.0, 21.0])
    assert uplift(scores, mean).tolist() == [11, -1, 5]
    assert uplift(scores, mean, of_class).tolist() == [6, 2, 4], "the second is better on average"
    assert uplift(mean, mean, of_class).tolist() == [-5, 3, -1], "and worse than it is below 0"


def test_the_prior_itself_has_no_uplift_however_good_it_looks():
    everything = torch.tensor(radiology.load("chest", source="synthetic", n=60).inputs)
    truth, public = everything[:20], everything[20:]
    prior = psnr(mean_image(public, 20), truth)
    assert float(prior.median()) > 15, "no update was needed for this"
    assert uplift(prior, prior).tolist() == [0] * 20
    noisy = (mean_image(public, 20) + 0.1 * torch.randn(truth.shape, generator=generator("n")))
    assert float(uplift(psnr(noisy, truth), prior).mean()) < 0
    assert float(uplift(psnr(truth, truth), prior).min()) > 100


@pytest.mark.parametrize(("scores", "priors", "message"), [
    (torch.zeros(2), (), "priors: none given"),
    (torch.zeros(2), (torch.zeros(3),), r"priors\[0\]: shape \(3,\) given"),
    (torch.zeros(2), (torch.zeros(2), torch.tensor([0, math.inf])), r"priors\[1\]: values"),
    (torch.tensor([math.nan]), (torch.zeros(1),), "scores: values"),
    (torch.zeros(2, 1), (torch.zeros(2, 1),), r"scores: shape \(2, 1\) given"),
])
def test_scores_that_cannot_be_compared_are_named(scores, priors, message):
    with pytest.raises(ValueError, match=message):
        uplift(scores, *priors)


# --- What holds for all ---------------------------------------------------------------------


@pytest.mark.parametrize("score", [match, psnr, ssim])
def test_unlike_shapes_and_values_that_are_no_numbers_are_named(score):
    truth = images("t")
    for guess in (truth[:3], truth[..., :11], truth[:0]):
        with pytest.raises(ValueError, match="guess, truth: shapes"):
            score(guess, truth)
    broken = truth.clone()
    broken[2, 0, 0, 0] = math.nan
    with pytest.raises(ValueError, match="guess: 1 of 4 records hold NaN or infinite values"):
        score(broken, truth)
    with pytest.raises(ValueError, match="truth: 1 of 4 records hold NaN or infinite values"):
        score(truth, broken)


def test_images_smaller_than_a_window_are_refused():
    with pytest.raises(ValueError, match="of 11 pixels a side or more"):
        ssim(torch.zeros(1, 1, 10, 28), torch.zeros(1, 1, 10, 28))


def test_no_score_changes_its_inputs():
    truth, guess = images("t"), images("g") * 3 - 1
    kept = guess.clone(), truth.clone()
    for score in (match, psnr, ssim):
        score(guess, truth)
    identified(guess, truth, truth)
    assert torch.equal(guess, kept[0]) and torch.equal(truth, kept[1])
    assert np.isfinite(psnr(guess, truth).numpy()).all()
