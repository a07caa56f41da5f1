"""The protocol: disjoint patients, priors without the update, fair scores."""

import numpy as np
import pytest
import torch

from leaklab.assess.inversion import GALLERY, halves, judge, sent
from leaklab.attacks.observed import mean_gradient
from leaklab.data import radiology
from leaklab.metrics import reconstruction
from leaklab.models import conv_net
from leaklab.runtime import generator
from leaklab.updates import LocalTraining


@pytest.fixture(scope="module")
def dataset():
    return radiology.load("chest", source="synthetic", n=2 * GALLERY)


@pytest.fixture(scope="module")
def known(dataset):
    return halves(dataset, 3)


def test_no_patient_is_private_and_public(dataset):
    for seed in (0, 1):
        found = halves(dataset, seed)
        private, public = ({row.tobytes() for row in part.numpy()}
                           for part in (found.private, found.public))
        assert not private & public
        assert len(private) + len(public) == len(dataset)


def test_each_seed_has_other_victims(dataset):
    firsts = [halves(dataset, seed).private[0].numpy() for seed in range(4)]
    assert len({first.tobytes() for first in firsts}) == 4
    np.testing.assert_array_equal(firsts[0], halves(dataset, 0).private[0].numpy())


def test_what_is_sent_is_the_gradient_of_these_records_alone(known):
    net, images, labels = conv_net(generator(0)), known.private[:3], torch.tensor([0, 4, 9])
    view = sent(net, images, labels, LocalTraining(1.0), 0)
    loss = torch.nn.functional.cross_entropy(net(images), labels)
    gradients = torch.autograd.grad(loss, list(net.parameters()))
    for (name, found), expected in zip(mean_gradient(net, view).items(), gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6, msg=name)
    assert view.weights == (3,) and torch.equal(view.knowledge.labels, labels)


def test_the_victims_themselves_are_judged_perfect_in_any_order(known):
    victims, labels = known.private[:4], known.private_labels[:4]
    found = judge(victims[[2, 0, 3, 1]], victims, labels, known)
    assert bool((found.psnr == reconstruction.EXACT_DB).all() and (found.identified == 1).all())
    torch.testing.assert_close(found.ssim, torch.ones_like(found.ssim))


def test_the_mean_image_adds_nothing(known):
    victims, labels = known.private[:20], known.private_labels[:20]
    by_class = reconstruction.class_mean_images(known.public, known.public_labels, labels)
    flat = reconstruction.mean_image(known.public, 20)
    found = [judge(guess, victims, labels, known) for guess in (flat, by_class)]
    assert max(float(judged.uplift.mean()) for judged in found) == pytest.approx(0, abs=1e-6)
    assert all(float(judged.identified.mean()) < 0.15 for judged in found)


def test_another_patients_image_is_no_success(known):
    victims, labels = known.private[:20], known.private_labels[:20]
    found = judge(known.private[20:40], victims, labels, known)
    assert float(found.uplift.mean()) < 0
    assert float(found.identified.mean()) < 0.15


def test_the_nearest_public_image_is_beaten_by_none_of_the_others(known):
    victim, label = known.private[:1], known.private_labels[:1]
    best = float(judge(victim, victim, label, known).nearest)
    for image in known.public:
        assert float(reconstruction.psnr(image[None], victim)) <= best + 1e-6
