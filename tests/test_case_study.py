"""Observers of one round, and images read through a dense layer, out of sums too."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leaklab.assess import case_study
from leaklab.assess.observers import inputs_behind, one_round, views_by_observer
from leaklab.attacks.dense_images import dense_images
from leaklab.attacks.observed import mean_gradient
from leaklab.attacks.search import Budget
from leaklab.metrics.reconstruction import match, psnr
from leaklab.models import logistic_regression, mlp, small_cnn
from leaklab.prior import nodules
from leaklab.prior.diffusion import denoised, prior_samples
from leaklab.runtime import generator
from leaklab.updates import LocalTraining, Update, weighted_mean
from local_training import smooth_images

ONE_STEP = LocalTraining(0.5)


def members(sizes, features=4):
    """Hospitals A, B, ... with so many records of a table each."""
    return {chr(65 + k): (torch.randn(n, features, generator=generator("records", k)),
                          torch.arange(n) % 2) for k, n in enumerate(sizes)}


def pictures(number, size=28, records=1):
    """Hospitals of smooth images."""
    return {chr(65 + k): (smooth_images(generator("patients", k), records, size),
                          (torch.arange(records) + k) % 2) for k in range(number)}


def table_model():
    return logistic_regression(generator("weights"), num_features=4)


def distance(a, b):
    """The largest difference between entries of two states."""
    return max(float((a[name] - b[name]).abs().max()) for name in a)


# --- What each observer is given -----------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=3, max_size=8), st.integers(0, 9))
def test_a_client_among_three_or_more_holds_no_single_update_of_another(sizes, turn):
    records = members(sizes)
    own = list(records)[turn % len(records)]
    step = one_round(table_model(), records, ONE_STEP, 0)
    (view,) = views_by_observer(step, own, records, ONE_STEP)["client"]
    others = [update for update in step.updates if update.hospital != own]
    assert set(view.contributors) == set(records) - {own}
    for update in others:
        assert distance(view.after, update.after) > 1e-5
    # nor would it notice if two of the others had sent something else of the same sum
    first, second = others[:2]
    noise = {name: torch.randn(t.shape, generator=generator("noise", name))
             for name, t in first.after.items()}
    ratio = first.num_examples / second.num_examples
    changed = {first.hospital: {k: t + noise[k] for k, t in first.after.items()},
               second.hospital: {k: t - ratio * noise[k] for k, t in second.after.items()}}
    updates = tuple(replace(u, after=changed.get(u.hospital, u.after)) for u in step.updates)
    total = weighted_mean([u.after for u in updates], [u.num_examples for u in updates])
    assert distance(total, step.after) < 1e-4, "what was changed must leave the sum"
    (again,) = views_by_observer(replace(step, updates=updates), own, records, ONE_STEP)["client"]
    assert distance(view.after, again.after) == 0


def test_the_property_above_rejects_a_client_that_is_shown_an_update():
    records = members([3, 4, 5])
    step = one_round(table_model(), records, ONE_STEP, 0)
    seen = views_by_observer(step, "A", records, ONE_STEP)["server"][1]
    assert any(distance(seen.after, update.after) < 1e-5 for update in step.updates[1:])


def test_among_two_the_client_holds_what_the_server_and_the_plain_line_hold():
    records = members([3, 5])
    step = one_round(table_model(), records, ONE_STEP, 0)
    seen = views_by_observer(step, "A", records, ONE_STEP)
    (client,) = seen["client"]
    for other in (seen["server"][1], seen["eavesdropper, plain line"][1]):
        assert client.contributors == other.contributors
        for name, gradient in mean_gradient(table_model(), client).items():
            torch.testing.assert_close(gradient, mean_gradient(table_model(), other)[name],
                                       rtol=1e-4, atol=1e-5)


def test_tls_leaves_nothing_and_secure_aggregation_the_sum_of_all():
    records = members([3, 5, 2])
    seen = views_by_observer(one_round(table_model(), records, ONE_STEP, 0), "A", records,
                             ONE_STEP)
    assert seen["eavesdropper, TLS"] == ()
    (sum_,) = seen["server behind secure aggregation"]
    assert sum_.artefact == "sum" and set(sum_.contributors) == set(records)


def test_a_sum_of_equal_hospitals_is_one_step_on_all_their_records():
    records = members([4, 4, 4])
    step = one_round(table_model(), records, ONE_STEP, 0)
    (view,) = views_by_observer(step, "B", records, ONE_STEP)["client"]
    inputs, labels = inputs_behind(view, records), view.knowledge.labels
    together = {"all": (inputs, labels)}
    alone = one_round(table_model(), together, ONE_STEP, 0).updates[0]
    assert distance(view.after, alone.after) < 1e-5
    torch.testing.assert_close(inputs, torch.cat([records["A"][0], records["C"][0]]))
    torch.testing.assert_close(labels, torch.cat([records["A"][1], records["C"][1]]))


def test_a_round_needs_a_hospital():
    with pytest.raises(ValueError, match="records: no hospital"):
        one_round(table_model(), {}, ONE_STEP, 0)
    records = members([2, 2])
    with pytest.raises(ValueError, match="own: 'Z'"):
        views_by_observer(one_round(table_model(), records, ONE_STEP, 0), "Z", records, ONE_STEP)


# --- Images behind a dense layer -----------------------------------------------------------------


def client_view(number, records=1, training=ONE_STEP):
    everyone = pictures(number, records=records)
    net = small_cnn(generator("weights"))
    step = one_round(net, everyone, training, 0)
    (view,) = views_by_observer(step, "A", everyone, training)["client"]
    return net, view, inputs_behind(view, everyone)


def test_a_client_among_five_reads_the_four_others_out_of_their_sum():
    net, view, truth = client_view(5)
    blind = replace(view, knowledge=replace(view.knowledge, labels=None))
    found = dense_images(net, blind, shape=truth.shape, generator=generator("attack"))
    assert found is not None and found.score.min() >= 0.95
    guess = found.guess[match(found.guess, truth)]
    assert float(psnr(guess, truth).min()) > 28
    strangers = smooth_images(generator("elsewhere"), 4, 28)
    assert float(psnr(guess[match(guess, strangers)], strangers).max()) < 22, "the control fails"


def test_it_refuses_where_the_layer_cannot_be_read():
    twenty = LocalTraining(0.5, local_steps=20)
    for number, records, training in ((2, 48, ONE_STEP), (2, 4, twenty)):
        net, view, truth = client_view(number, records, training)
        assert dense_images(net, view, shape=truth.shape, generator=generator("attack"),
                            draws=2048) is None


def test_what_it_certifies_is_there_and_noise_takes_the_certificate_away():
    net, view, truth = client_view(5)
    features = net[:5](truth).detach()
    for size, sure in ((0.0, True), (1e-6, False), (1e-4, False), (1e-2, False)):
        draw = generator("noise")
        after = {name: t + size * torch.randn(t.shape, generator=draw)
                 for name, t in view.after.items()}
        found = dense_images(net, replace(view, after=after), shape=truth.shape,
                             generator=generator("attack"), budget=Budget(60), draws=2048)
        assert sure == (found is not None and bool(found.certificate.any()))
        if sure:
            inside = net[:5](found.guess).detach()
            gaps = torch.cdist(inside, features).min(1).values / features.norm(dim=1)
            assert float(gaps.max()) < 0.1 and found.labels is not None


def test_a_wrong_number_of_records_is_refused():
    net, view, truth = client_view(4)
    assert dense_images(net, view, shape=(2, *truth.shape[1:]), generator=generator("x")) is None


def test_without_a_dense_layer_it_says_so():
    _, view, truth = client_view(2)
    with pytest.raises(ValueError, match="linear layer"):
        dense_images(torch.nn.Conv2d(1, 1, 3), view, shape=truth.shape, generator=generator("x"))
    other = mlp(generator("w"), num_features=28 * 28)
    with pytest.raises(ValueError, match="not those of the model"):
        dense_images(other, view, shape=truth.shape, generator=generator("x"))


def test_an_update_is_left_as_it_was():
    records = members([3, 5])
    net = table_model()
    before = {name: t.clone() for name, t in net.state_dict().items()}
    step = one_round(net, records, ONE_STEP, 0)
    assert isinstance(step.updates[0], Update)
    assert distance(net.state_dict(), before) == 0


# --- The prior of the case -----------------------------------------------------------------------


def test_the_prior_knows_the_nodules_of_patients_it_has_never_seen():
    prior, images = nodules.nodule_prior(), case_study.known(3).private[:50]
    noise = 0.1 * torch.randn(images.shape, generator=generator("noise"))
    error = (denoised(prior, images + noise, 0.1) - images).square().mean()
    assert error < 0.25 * noise.square().mean()
    strangers = smooth_images(generator("elsewhere"), 50, 28)
    elsewhere = (denoised(prior, strangers + noise, 0.1) - strangers).square().mean()
    assert elsewhere > 1.5 * error, "no better on nodules than on other smooth images"


def test_what_the_prior_draws_alone_is_no_image_of_the_gallery():
    drawn = prior_samples(nodules.nodule_prior(), 4, generator=generator("drawn"))
    gallery = case_study.known(3).private[:200]
    assert not case_study.same_images(drawn, gallery).any()
    assert float(psnr(drawn[match(drawn, gallery[:4])], gallery[:4]).max()) < 22


def test_another_checkpoint_is_refused(monkeypatch):
    monkeypatch.setattr(nodules, "SHA256", "0" * 64)
    with pytest.raises(ValueError, match="SHA-256"):
        nodules.nodule_prior()


def test_the_prior_was_trained_on_procedural_images_alone():
    public = nodules.public_nodules(20)
    assert public.shape == (20, 1, 28, 28)
    assert not case_study.same_images(public, torch.tensor(case_study.images().inputs)).any()
