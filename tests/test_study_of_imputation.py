"""Study 14, imputation: the record follows from its trials, and who is held out is held out."""

import importlib

import numpy as np
import pytest
from conftest import promised_data

from leaklab import evidence
from leaklab.assess import imputation as scene
from leaklab.metrics import mean_interval

STUDY = importlib.import_module("studies.14_imputation_and_relatives")
NAME = "14_imputation_and_relatives"


@pytest.fixture(autouse=True, scope="module")
def data():
    """Skip where the panels cannot be had and nobody promised them."""
    with promised_data():
        scene.chromosome("chr20"), scene.chromosome("chr22")


@pytest.fixture
def oracle(monkeypatch):
    """Methods that know the victims, in place of the slow ones."""
    def knows(method, given, victims=None, **settings):
        return given.victims.dosages[:victims].astype(float)

    def none(haplotypes, observed, genotypes, centimorgans, **settings):
        return np.zeros((len(genotypes), haplotypes.shape[1]))

    monkeypatch.setattr(scene, "guessed", knows)
    monkeypatch.setattr(STUDY.imputation, "diploid", none)
    monkeypatch.setattr(STUDY.imputation, "decode", lambda h, o, g, c, **settings: (
        None, np.eye(3)[np.zeros(g.shape, dtype=int)]))


def test_no_trial_is_asked_for_twice():
    trials = [repr(trial) for trial in STUDY.trials()]
    assert len(set(trials)) == len(trials)


def test_the_record_has_every_condition_of_the_study(oracle):
    recorded = evidence.load(NAME)
    first = {part: STUDY.run({"part": part, "seed": 0}) for part in STUDY.PARTS}
    items = {item.name: item for item in STUDY.summarise(
        [(trial, first[trial["part"]]) for trial in STUDY.trials()])}
    assert set(items) == set(recorded)
    for name, item in items.items():
        assert item.setting == recorded[name].setting, name
        assert item.data_sha256 == recorded[name].data_sha256, name
    assert items["kept_0.1_unphased_accuracy"].value == 1
    assert items["kept_0.1_loss_accuracy"].value == 0


def test_recorded_values_and_intervals_follow_from_their_runs():
    for item in evidence.load(NAME).values():
        assert item.value == pytest.approx(np.mean(item.runs), rel=1e-4, abs=2e-5), item.name
        ratio = item.setting["victims"] / item.setting["panel"]
        wanted = mean_interval(item.runs, test_to_train=ratio)
        assert item.interval == pytest.approx(wanted, rel=1e-3, abs=5e-5), item.name
        assert item.seeds == STUDY.SEEDS


def test_nobody_is_held_out_and_in_the_panel_and_kept_sets_are_nested():
    tasks = {share: scene.held_out(3, share) for share in (0.1, 0.5)}
    for given in tasks.values():
        assert not set(given.panel.people) & set(given.victims.people)
        assert (len(given.panel), len(given.victims)) == (250, 50)
        assert sorted([*given.observed, *given.hidden]) == list(range(given.panel.snps))
    assert set(tasks[0.1].observed) < set(tasks[0.5].observed)
    assert list(tasks[0.1].victims.people) == list(tasks[0.5].victims.people)
    assert list(scene.held_out(3, people=10).panel.people) == list(tasks[0.1].panel.people[:10])


def test_a_panel_without_linkage_keeps_its_frequencies():
    panel = scene.held_out(0).panel.take(snps=slice(0, 400))
    mixed = scene.without_linkage(panel, np.random.default_rng(0))
    assert mixed.frequencies == pytest.approx(panel.frequencies)

    def linked(people):
        return np.abs(np.corrcoef(people.haplotypes.T + 0.0)[np.triu_indices(400, 1)]).mean()

    assert linked(mixed) < linked(panel) / 2


def test_scores_are_of_the_hidden_snps_alone():
    given = scene.held_out(0)
    dosages = given.victims.dosages.astype(float)
    dosages[:, given.observed] = 0
    assert scene.scores(dosages, given) == {
        "accuracy": 1, "concordance": 1, "r2_low": pytest.approx(1), "r2_common": pytest.approx(1)}
    assert scene.scores(dosages[:7], given)["accuracy"] == 1


def test_a_task_needs_known_and_hidden_snps():
    with pytest.raises(ValueError, match="kept: 0 of"):
        scene.held_out(0, 0.0)
    with pytest.raises(ValueError, match="kept: 10187 of"):
        scene.held_out(0, 1.0)


def test_a_method_that_is_unknown_or_needs_phase_is_refused():
    with pytest.raises(ValueError, match="method: 'rows' given, expected one of"):
        scene.guessed("rows", scene.held_out(0))
    for method in ("phased", "unphased"):
        with pytest.raises(ValueError, match=f"method: '{method}' given with an unphased panel"):
            scene.guessed(method, scene.held_out(0, source="chr22"))


def test_statements_tell_known_genotypes_from_hidden_ones():
    recorded = evidence.load(NAME)
    for name, word in (("noise_array_1_chain_accuracy", "Known"),
                       ("errors_0.1_known_accuracy", "Known"),
                       ("errors_0.1_unphased_accuracy", "Hidden")):
        assert recorded[name].statement.startswith(word), name


def test_the_chain_gains_over_frequency_in_the_record():
    recorded = evidence.load(NAME)
    for share in STUDY.SHARES:
        item = recorded[f"kept_{share:g}_phased_accuracy"]
        assert item.interval[0] > item.baseline
    control = recorded["unlinked_0.1_phased_accuracy"]
    assert control.interval[1] < control.baseline + 0.01
