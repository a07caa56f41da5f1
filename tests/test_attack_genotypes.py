"""Genotypes out of updates: exact where certain, refused where they cannot be told apart."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import FastICA
from torch import nn

from leaklab.attacks import genotypes
from leaklab.attacks.genotypes import certificate, neurons, unmixing
from leaklab.attacks.genotypes.reading import read
from leaklab.data.genomes import families
from leaklab.federation import train_on
from leaklab.models import logistic_regression, mlp
from leaklab.runtime import generator
from leaklab.updates import LocalTraining, weighted_mean
from local_training import view_of

STEP = LocalTraining(0.1)


def people(size, snps=800, seed=0, lowest=0.05):
    """Unlinked genotypes (size, snps) of unrelated people, and the frequencies they were drawn by.

    Rare alleles are commoner than common ones, as in human panels.
    """
    draw = generator("people", seed)
    f = lowest * (0.5 / lowest) ** torch.rand(snps, generator=draw, dtype=torch.float64)
    return sum((torch.rand(size, snps, generator=draw) < f).long() for _ in range(2)), f


def standard(f):
    return 2 * f, (2 * f * (1 - f)).sqrt()


def update_of(dosages, f, *, width=128, seed=0, training=STEP, raw=False, net=None):
    """A network, its encoding, and what the server sees of training on these patients."""
    encoding = None if raw else standard(f)
    inputs = dosages.double() if raw else (dosages - encoding[0]) / encoding[1]
    net = net or mlp(generator("weights", seed), num_features=len(f), width=width)
    labels = torch.randint(0, 2, (len(dosages),), generator=generator("labels", seed))
    return net, encoding, view_of(net, inputs.float(), labels, training)


def recovered(dosages, f, **case):
    options = {key: case.pop(key) for key in ("methods", "batch_size", "rounds") if key in case}
    net, encoding, view = update_of(dosages, f, **case)
    return genotypes.recover(net, view, frequencies=f, encoding=encoding,
                             generator=generator("attack"), **options)


def found(answer, truth):
    """Which patients are among the rows, and how many certified rows are no patient."""
    same = (answer.guess[:, None] == truth[None]).all(2)
    return same.any(0), int((answer.certificate & ~same.any(1)).sum())


# --- One patient ------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("kind", [mlp, logistic_regression])
def test_one_patient_is_read_by_a_ratio(kind, raw):
    for seed in range(10):
        x, f = people(1, seed=seed)
        net, encoding, view = update_of(x, f, raw=raw,
                                        net=kind(generator(seed), num_features=len(f)))
        answer = genotypes.single(net, view, encoding=encoding)
        assert torch.equal(answer.guess, x) and answer.certificate.all()
        assert answer.guess.dtype == torch.int64


def test_a_batch_taken_for_one_patient_is_not_certified():
    x, f = people(5)
    net, encoding, view = update_of(x, f, net=logistic_regression(generator(0), num_features=800))
    assert not genotypes.single(net, view, encoding=encoding).certificate.any()


def test_few_snps_are_no_certainty():
    x, f = people(1, snps=20)
    net, encoding, view = update_of(x, f)
    answer = genotypes.single(net, view, encoding=encoding)
    assert torch.equal(answer.guess, x) and not answer.certificate.any()


# --- Batches ----------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("size", [1, 2, 8, 24])
def test_a_batch_is_read_whole_and_every_row_is_certain(size, raw):
    x, f = people(size, seed=size)
    answer = recovered(x, f, raw=raw)
    patients, false = found(answer, x)
    assert patients.all() and not false
    assert answer.certificate.all() and answer.guess.shape == x.shape


def test_a_batch_as_large_as_the_layer_is_wide_is_read_if_its_size_is_known():
    x, f = people(32, 2000)
    answer = recovered(x, f, width=32, batch_size=32)
    assert found(answer, x)[0].double().mean() > 0.9 and not found(answer, x)[1]


def test_neurons_alone_and_differences_give_less_and_only_certain_rows():
    x, f = people(12)
    shares = [found(recovered(x, f, raw=True, methods=methods), x)[0].double().mean()
              for methods in (("alone",), ("alone", "differences"), genotypes.METHODS)]
    assert 0 < shares[0] < shares[1] <= shares[2] == 1
    assert recovered(x, f, raw=True, methods=("alone",)).certificate.all()


def test_a_neuron_that_hears_one_patient_holds_a_multiple_of_it():
    """By hand: neuron 0 is on for the first patient only, neuron 1 for both."""
    x = torch.tensor([[2, 0, 1, 0], [0, 2, 1, 1]])
    net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, -1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]]))
        net[0].bias.copy_(torch.tensor([0.0, 0, -1]))
        net[2].weight.copy_(torch.tensor([[0.0, 0, 0], [1, 2, 1]])), net[2].bias.zero_()
    seen = read(net, view_of(net, x.float(), torch.tensor([0, 1]), STEP))
    rows = certificate.values(seen, neurons.alone(seen))
    torch.testing.assert_close(rows[0], torch.tensor([2.0, 0, 1, 0, 1]).double(), atol=1e-4, rtol=0)
    apart = certificate.values(seen, neurons.differences(seen))
    expected = torch.tensor([0.0, 2, 1, 1, 1]).double()  # row 1 over 2 less row 0 over 1
    assert ((apart - expected).abs().amax(1) < 1e-4).any()


def test_without_a_head_for_two_classes_there_are_no_differences():
    x, f = people(4)
    net = mlp(generator(0), num_features=800, num_classes=3)
    view = update_of(x, f, net=net)[2]
    assert len(neurons.differences(read(net, view, standard(f)))) == 0
    assert found(recovered(x, f, net=net), x)[0].all()


@pytest.mark.parametrize("training", [LocalTraining(0.05, 5), LocalTraining(0.05, 6, batch_size=4),
                                      LocalTraining(0.02, 5, momentum=0.9)])
def test_local_steps_of_sgd_hide_nothing(training):
    x, f = people(8)
    net, encoding, _ = update_of(x, f)
    inputs = ((x - encoding[0]) / encoding[1]).float()
    update = train_on(net, inputs, torch.arange(8) % 2, training, generator=generator("local"))
    view = update_of(x, f, training=training)[2]
    view = dataclasses.replace(view, before=update.before, after=update.after)
    answer = genotypes.recover(net, view, frequencies=f, encoding=encoding,
                               generator=generator("attack"))
    assert found(answer, x)[0].all() and not found(answer, x)[1]


def test_adam_leaves_the_space_of_the_records():
    x, f = people(8)
    net, encoding, _ = update_of(x, f)
    inputs = ((x - encoding[0]) / encoding[1]).float()
    adam = LocalTraining(0.01, 3, optimiser="adam")
    update = train_on(net, inputs, torch.arange(8) % 2, adam, generator=generator("local"))
    view = dataclasses.replace(update_of(x, f, training=adam)[2], before=update.before,
                               after=update.after)
    with_size = genotypes.recover(net, view, frequencies=f, encoding=encoding, batch_size=8,
                                  generator=generator("attack"))
    assert not with_size.certificate.any()


def test_a_sum_over_hospitals_is_one_larger_batch():
    x, f = people(12)
    net, encoding, whole = update_of(x, f)
    parts = [update_of(x[rows], f)[2] for rows in ([0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11])]
    mean = weighted_mean([part.after for part in parts], [4, 4, 4])
    view = dataclasses.replace(whole, artefact="sum", after=mean, weights=None)
    answer = genotypes.recover(net, view, frequencies=f, encoding=encoding,
                               generator=generator("attack"))
    assert found(answer, x)[0].all() and len(answer.guess) == 12


# --- How many records -------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 7, 30])
def test_the_number_of_records_shows_in_the_singular_values(size):
    x, f = people(size)
    net, encoding, view = update_of(x, f)
    unknown = dataclasses.replace(view, weights=None)
    assert read(net, unknown, encoding).rank == size


def test_noise_far_beyond_rounding_still_leaves_a_plateau():
    x, f = people(6)
    net, encoding, view = update_of(x, f)
    draw = generator("noise")
    size = float((view.after["1.weight"] - view.before["1.weight"]).square().mean().sqrt())
    after = {name: tensor + 0.05 * size * torch.randn(tensor.shape, generator=draw)
             for name, tensor in view.after.items()}
    noisy = dataclasses.replace(view, after=after, weights=None)
    assert read(net, noisy, encoding).rank == 6
    answer = genotypes.recover(net, noisy, frequencies=f, encoding=encoding,
                               generator=generator("attack"))
    assert found(answer, x)[0].all() and answer.certificate.all()


def test_more_records_than_rows_are_refused():
    x, f = people(20)
    net, encoding, view = update_of(x, f, width=16)
    for refused, error in ((view, "20 records given, expected at most 16"),
                           (dataclasses.replace(view, weights=None), "no plateau")):
        with pytest.raises(ValueError, match=error):
            genotypes.recover(net, refused, frequencies=f, encoding=encoding,
                              generator=generator("attack"))


# --- What must not be certified ---------------------------------------------------------------


def family(f, seed=0, children=1):
    """Mother, father and children, (2 + children, snps), of unlinked SNPs."""
    rng = np.random.default_rng(seed)
    parents = np.stack([rng.random((2, len(f))) < f.numpy() for _ in range(2)], 1)
    apart = np.full(len(f), 0.5)
    mother, father = parents[:1].astype(np.uint8), parents[1:].astype(np.uint8)
    kids = [families.child(mother, father, apart, rng) for _ in range(children)]
    return torch.tensor(np.concatenate([one.sum(1) for one in (mother, father, *kids)])).long()


@pytest.mark.parametrize("width", [8, 128])
@pytest.mark.parametrize("seed", range(4))
def test_the_alleles_that_a_child_did_not_get_are_whole_and_not_certified(seed, width):
    _, f = people(1)
    trio = family(f, seed)
    nobody = trio[0] + trio[1] - trio[2]
    assert ((nobody >= 0) & (nobody <= 2)).all() and not (trio == nobody).all(1).any()
    net, encoding, view = update_of(trio, f, width=width, seed=seed)
    seen = read(net, view, encoding)
    row = torch.cat([nobody, torch.ones(1).long()]).double()
    coordinates = row[None] @ seen.basis.T
    assert certificate.integral(seen, coordinates).all(), "integrality alone would certify it"
    betrayed, tried = certificate.heard(seen, row[None])
    quartet = torch.cat([trio, nobody[None]])
    assert betrayed.all() if width == 128 else not tried.any()
    assert certificate.exchangeable(quartet[:3].double()).all()
    answer = recovered(trio, f, width=width, seed=seed)
    assert found(answer, trio)[1] == 0
    if width == 128:
        assert found(answer, trio)[0].all() and answer.certificate.all()


def claims_among_families_through_a_narrow_layer():
    """Certified rows, and those of them that are nobody's, of two families of four, six times."""
    claims = false = 0
    for seed in range(6):
        _, f = people(1, seed=seed)
        x = torch.cat([family(f, (seed, which), children=2) for which in range(2)])
        answer = recovered(x, f, width=16, seed=seed)
        claims, false = claims + int(answer.certificate.sum()), false + found(answer, x)[1]
    return claims, false


def test_where_no_neuron_can_be_asked_relatives_are_not_certified(monkeypatch):
    assert claims_among_families_through_a_narrow_layer() == (0, 0)
    monkeypatch.setattr(genotypes, "related", lambda rows: torch.zeros(len(rows), dtype=torch.bool))
    claims, false = claims_among_families_through_a_narrow_layer()
    assert claims > false > 0, "without this rule some are nobody's"


def test_close_kin_are_related_and_strangers_are_not():
    x, f = people(6)
    trio = family(f)
    left = trio[0] + trio[1] - trio[2]
    rows = torch.cat([x, trio[:1], trio[2:], left[None]]).double()
    assert certificate.related(rows).tolist() == [False] * 6 + [True] * 3
    assert not certificate.related(torch.cat([x, trio[:1]]).double()).any()
    assert certificate.related(rows[:1]).tolist() == [False]
    assert certificate.related(rows[:0]).shape == (0,)


def test_unrelated_people_are_not_exchangeable():
    x, _ = people(20)
    assert not certificate.exchangeable(x.double()).any()


def test_twins_come_once():
    x, f = people(6)
    x[1] = x[0]
    answer = recovered(x, f)
    assert len(answer.guess) == 5 and found(answer, x)[0].all() and not found(answer, x)[1]


def test_records_of_nothing_but_zeros_and_twos_are_no_trap():
    x, f = people(8)
    x[0], x[1] = 0, 2
    answer = recovered(x, f)
    assert found(answer, x)[0][2:].double().mean() >= 0.5 and found(answer, x)[1] == 0


def reading_of(dosages, f, width=128):
    net, encoding, view = update_of(dosages, f, width=width)
    return read(net, view, encoding)


def coordinates_of(seen, rows):
    rows = torch.as_tensor(rows).double()
    return torch.cat([rows, torch.ones(len(rows), 1).double()], 1) @ seen.basis.T


WRONG = {
    "half and half": lambda x: (x[0] + x[1]) / 2,
    "two thirds": lambda x: (2 * x[0] + x[1]) / 3,
    "nearly one": lambda x: 0.8 * x[0] + 0.2 * x[1],
    "a sum less another": lambda x: x[0] + x[1] - x[2],
    "mean of all": lambda x: x.mean(0),
}


@pytest.mark.parametrize("name", WRONG)
def test_mixtures_are_not_certified(name):
    x, f = people(6)
    seen = reading_of(x, f)
    mixture = coordinates_of(seen, WRONG[name](x.double())[None])
    assert not certificate.integral(seen, mixture).any()
    assert certificate.integral(seen, coordinates_of(seen, x)).all()


RULES = {
    "most entries whole": lambda rows: (rows - rows.round()).abs().lt(0.25).double().mean(1) > 0.6,
    "entries in range": lambda rows: ((rows > -0.5) & (rows < 2.5)).all(1),
    "small mean distance": lambda rows: (rows - rows.round()).abs().mean(1) < 0.2,
}


@pytest.mark.parametrize("name", RULES)
def test_a_laxer_certificate_would_take_mixtures_for_patients(name):
    x, f = people(6)
    seen = reading_of(x, f)
    rows = torch.stack([WRONG[kind](x.double()) for kind in WRONG])
    values = certificate.values(seen, coordinates_of(seen, rows))[:, :-1]
    assert RULES[name](values).any()


def test_without_the_bits_few_snps_would_certify_mixtures():
    """Two people of twelve SNPs are often whole between them: luck, which the bits count."""
    lucky = 0
    for seed in range(300):
        x, _ = people(2, snps=12, seed=seed)
        lucky += bool(((x[0] + x[1]) % 2 == 0).all()) and not torch.equal(x[0], x[1])
    assert lucky > 0 and certificate.bits(people(1, snps=12)[0]) < certificate.CHANCE
    assert certificate.bits(torch.zeros(1, 5000)) == 0, "a record of zeros proves nothing"


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 10), st.integers(20, 300),
       st.sampled_from([8, 16, 64]), st.booleans(), st.integers(1, 3))
def test_it_is_never_certain_and_wrong(seed, size, snps, width, raw, steps):
    x, f = people(size, snps, seed)
    try:
        answer = recovered(x, f, width=width, seed=seed, raw=raw, rounds=2,
                           training=LocalTraining(0.05, steps))
    except ValueError:
        return
    assert found(answer, x)[1] == 0


# --- What changes nothing ---------------------------------------------------------------------


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 10**6))
def test_order_of_patients_allele_counted_and_scale_of_inputs_change_nothing(seed):
    x, f = people(6, 400, seed)
    net, encoding, view = update_of(x, f, seed=seed)
    as_set = {tuple(row) for row in recovered(x, f, seed=seed).guess.tolist()}

    order = torch.randperm(6, generator=generator("order", seed))
    labels = torch.randint(0, 2, (6,), generator=generator("labels", seed))
    inputs = ((x - encoding[0]) / encoding[1]).float()
    shuffled = view_of(net, inputs[order], labels[order], STEP)

    flipped = torch.rand(400, generator=generator("flip", seed)) < 0.5
    other = torch.where(flipped, 1 - f, f)  # 2 - x standardised is minus x standardised
    sign = 1.0 - 2 * flipped
    mirrored = (2 * other, encoding[1] * sign)

    wider = mlp(generator("weights", seed), num_features=400, width=128)
    with torch.no_grad():
        wider[1].weight.mul_(2)
    halved = view_of(wider, inputs / 2, labels, STEP)

    for model, seen, code, frequency, counted in (
            (net, shuffled, encoding, f, x),
            (net, view, mirrored, other, torch.where(flipped, 2 - x, x)),
            (wider, halved, (encoding[0], 2 * encoding[1]), f, x)):
        answer = genotypes.recover(model, seen, frequencies=frequency, encoding=code,
                                   generator=generator("attack"))
        rows = torch.where(flipped, 2 - answer.guess, answer.guess) if counted is not x else (
            answer.guess)
        assert {tuple(row) for row in rows.tolist()} == as_set
        assert found(answer, counted)[0].all() and answer.certificate.all()


# --- Independent component analysis -----------------------------------------------------------


def blended(k=4, samples=4000):
    """White mixtures (k, samples) of independent sources, peaked and flat."""
    draw = np.random.default_rng(0)
    sources = np.stack([draw.laplace(size=samples) for _ in range(k)])
    sources = (sources - sources.mean(1, keepdims=True)) / sources.std(1, keepdims=True)
    mixed = draw.normal(size=(k, k)) @ sources
    values, turn = np.linalg.eigh(np.cov(mixed, bias=True))
    return torch.tensor((turn / np.sqrt(values)).T @ mixed), torch.tensor(sources)


@pytest.mark.parametrize(("contrast", "theirs"), [("tanh", "logcosh"), ("bell", "exp")])
def test_unmixing_agrees_with_scikit_learn(contrast, theirs):
    white, sources = blended()
    ours = unmixing.fast_ica(white, generator(0), contrast=contrast, iterations=400) @ white
    other = FastICA(fun=theirs, whiten=False, random_state=0, max_iter=1000, tol=1e-8)
    components = torch.tensor(other.fit_transform(white.numpy().T)).T
    for side in (components, sources):
        match = torch.corrcoef(torch.cat([ours, side]))[:4, 4:].abs()
        assert (match.max(1).values > 0.99).all() and len(match.argmax(1).unique()) == 4


def test_weights_turn_the_contrast_for_flat_samples():
    """Half the samples of each source peaked, half flat: unweighted they cancel, weighted not."""
    draw = np.random.default_rng(1)
    peaked, flat = draw.laplace(size=(3, 4000)) / 2**0.5, draw.uniform(-3**0.5, 3**0.5, (3, 4000))
    sources = torch.tensor(np.concatenate([peaked, flat], 1))
    turn = torch.linalg.qr(torch.randn(3, 3, generator=generator(0), dtype=torch.float64))[0]
    weights = torch.cat([torch.full((4000,), 3.0), torch.full((4000,), -1.2)]).double()
    unmix = unmixing.fast_ica(turn @ sources, generator(1), contrast="bell", weights=weights)
    assert ((unmix @ turn).abs().max(1).values > 0.98).all()


# --- Bad input --------------------------------------------------------------------------------


def test_arguments_out_of_range_are_named():
    x, f = people(3)
    net, encoding, view = update_of(x, f)
    attack = {"frequencies": f, "encoding": encoding, "generator": generator(0)}
    for wrong, error in (({"frequencies": f[:5]}, "frequencies: shape"),
                         ({"frequencies": f + 1}, "frequencies"),
                         ({"encoding": (f, f[:3])}, "encoding"),
                         ({"encoding": (f, 0 * f)}, "encoding: a column without spread"),
                         ({"methods": ("magic",)}, "methods"), ({"methods": ()}, "methods: none"),
                         ({"rounds": 0}, "rounds"), ({"batch_size": 0}, "batch_size")):
        with pytest.raises(ValueError, match=error):
            genotypes.recover(net, view, **{**attack, **wrong})
    still = dataclasses.replace(view, after=view.before)
    with pytest.raises(ValueError, match="nothing but noise"):
        genotypes.recover(net, still, **attack)
