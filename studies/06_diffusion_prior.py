"""Study 6: what a generative prior reads out of a noisy gradient, and what it makes up.

    noise      procedural radiographs, one in an update, clipped and with more and more noise
    real       radiographs of children against a prior that knows procedural ones only
    release    the worst update there could be: the record itself with noise, denoised in one pass

A seed redraws the weights, the split of patients, the victim and all noise. The attacker knows the
training, the label, the defence and public images. Total variation and plain guidance (DPS) were
tuned on seeds 100 to 103, for each noise level and each kind of image by itself (:func:`tune`); on
these seeds the number of samples and of steps was chosen too, within two seconds an image. The
reader, who says whether an image shows opacities, is a classifier trained on public images.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

import leaklab
from leaklab.assess.inversion import GALLERY, Halves, halves, judge
from leaklab.attacks.diffusion_prior import (
    candidate_scores,
    disagreement,
    posterior_samples,
    worst_case_release,
)
from leaklab.attacks.gradient_matching import gaussian_distance
from leaklab.attacks.guided_means import plain_guidance, posterior_mean
from leaklab.attacks.observed import mean_gradient
from leaklab.attacks.search import Budget, search, signed_adam, total_variation
from leaklab.attacks.simulated import client
from leaklab.data import radiology
from leaklab.data.dataset import Dataset
from leaklab.defences.clip_and_noise import ClipAndNoise
from leaklab.evidence import Evidence
from leaklab.federation import train_on, update_view
from leaklab.metrics.reconstruction import identified, mean_image, psnr
from leaklab.models import conv_net, predict, small_cnn
from leaklab.prior.checkpoint import PUBLIC_SEED, chest_prior
from leaklab.prior.diffusion import Prior, denoised, prior_samples
from leaklab.prior.gaussian import gaussian_prior
from leaklab.runtime import generator
from leaklab.updates import Knowledge, LocalTraining, View
from studies import by_condition, interval_of

SEEDS = tuple(range(20))
NOISE = (0.003, 0.01, 0.03, 0.1, 0.3)
REAL_NOISE = (0.003, 0.01)
RELEASE_NOISE = (0.003, 0.01, 0.03, 0.1, 0.3, 0.5, 1.0, 2.0)
IMAGES = 2000
MAX_GRAD_NORM = 1.0  # below that of every image under new weights, so clipping always acts
ONE_STEP = LocalTraining(1.0, mode="eval")
BUDGET = Budget(evaluations=10, restarts=8)
RELEASED = 20  # victims a seed in the worst release
TUNING_SEEDS = (100, 101, 102, 103)  # nothing is reported of them
WEIGHTS = (1e3, 3e3, 1e4, 3e4, 1e5, 3e5, 1e6)
RATES = (0.03, 0.003, 0.0003)
VARIATION = {
    "synthetic": {0.003: (1e4, 0.03), 0.01: (3e3, 0.003), 0.03: (3e4, 0.0003),
                  0.1: (1e5, 0.0003), 0.3: (3e5, 0.0003)},
    "real": {0.003: (1e4, 0.03), 0.01: (3e3, 0.03)},
}
"""Noise multiplier to the weight of total variation and the rate of signed Adam.

From 0.03 on the lowest rate did best: a search that hardly leaves the mean image it starts from.
"""
STEP_SIZES = (1, 2, 4, 8, 16, 32, 64)
GUIDANCE = {"synthetic": {0.003: 2, 0.01: 8, 0.03: 32, 0.1: 16, 0.3: 16},
            "real": {0.003: 4, 0.01: 16}}
"""Noise multiplier to the step size of plain guidance, times that noise multiplier."""
READER = LocalTraining(0.1, local_steps=600, batch_size=32)


def trials() -> list[dict]:
    """Every setting of the study, for every seed."""
    settings = [{"part": "noise", "noise": noise} for noise in NOISE]
    settings += [{"part": "real", "noise": noise} for noise in REAL_NOISE]
    settings += [{"part": "release", "noise": noise} for noise in RELEASE_NOISE]
    return [{**setting, "seed": seed} for setting in settings for seed in SEEDS]


def run(setting: Mapping) -> dict:
    """Measure one trial."""
    source = "real" if setting["part"] == "real" else "synthetic"
    known = halves(radiographs(source), setting["seed"])
    if setting["part"] == "release":
        return measure_release(known, setting["noise"], setting["seed"])
    return measure(known, setting["noise"], setting["seed"], source)


@functools.cache
def radiographs(source: str) -> Dataset:
    """Normal chests and chests with opacities, 28 x 28."""
    return radiology.load("chest", source=source, n=IMAGES)


@functools.cache
def priors() -> tuple[Prior, Prior]:
    """The diffusion model, and a Gaussian of the same public images."""
    public = radiology.load("chest", source="synthetic", n=4000, seed=PUBLIC_SEED)
    return chest_prior(), gaussian_prior(torch.tensor(public.inputs))


@functools.lru_cache(maxsize=2)
def reader(source: str, seed: int) -> nn.Sequential:
    """Tells opacities from none; trained on public images, real ones of the seed's public half."""
    if source == "synthetic":
        public = radiology.load("chest", source="synthetic", n=4000, seed=PUBLIC_SEED)
        inputs, targets = torch.tensor(public.inputs), torch.tensor(public.targets)
    else:
        known = halves(radiographs(source), seed)
        inputs, targets = known.public, known.public_labels
    net = small_cnn(generator(seed, "reader"))
    net.load_state_dict(train_on(net, inputs, targets, READER,
                                 generator=generator(seed, "reading")).after)
    return net


def readings(net: nn.Sequential, images: Tensor) -> Tensor:
    """1 where the reader sees opacities, shape (n,)."""
    return predict(net, net.state_dict(), images).argmax(1)


def noisy_view(net: nn.Module, image: Tensor, label: Tensor, noise: float, seed: int) -> View:
    """What the server sees of a hospital that clips and adds noise, and trains on one record."""
    update = train_on(net, image, label, ONE_STEP, generator=generator(seed, "local training"))
    defence = ClipAndNoise(MAX_GRAD_NORM, noise)
    sent = defence.defend(update, ONE_STEP, generator=generator(seed, "noise of the defence"))
    return update_view(sent, Knowledge(ONE_STEP, label, defence))


def total_variation_guess(net: nn.Module, view: View, start: Tensor, weight: float, rate: float,
                          evaluations: int = 200) -> Tensor:
    """The likeliest image under noise and total variation, searched for from the mean image."""
    simulate, observed = client(net, view), mean_gradient(net, view)
    distance = gaussian_distance(view.knowledge.defence.noise_std)

    def loss(guess: Tensor, progress: float) -> tuple[Tensor, Tensor]:
        sent = simulate(guess, view.knowledge.labels).gradient
        return distance(sent, observed), weight * total_variation(guess)

    return search(signed_adam(rate, 0.0, 1.0), loss, [[start]],
                  budget=Budget(evaluations)).variables[0]


def measure(known: Halves, noise: float, seed: int, source: str) -> dict:
    """Attack one update in every way, and judge the outcomes."""
    victim, label = known.private[:1], known.private_labels[:1]
    net = conv_net(generator(seed, "initial weights"), num_classes=2)
    view = noisy_view(net, victim, label, noise, seed)
    diffusion, gaussian = priors()
    ways = {"diffusion": diffusion, "gaussian": gaussian}
    if source == "real":
        ways["informed"] = gaussian_prior(known.public)
    draws = {name: posterior_samples(net, view, prior, shape=victim.shape, budget=BUDGET,
                                     generator=generator(seed, "samples", name))
             for name, prior in ways.items()}
    draws["plain"] = plain_guidance(net, view, diffusion, shape=victim.shape,
                                    step_size=GUIDANCE[source][noise] / noise,
                                    generator=generator(seed, "samples", "plain"))
    draws["unseen"] = prior_samples(diffusion, BUDGET.restarts,
                                    generator=generator(seed, "no update"))[:, None]
    start = mean_image(known.public)
    guesses = {"tv": total_variation_guess(net, view, start, *VARIATION[source][noise]),
               "expected": posterior_mean(net, view, diffusion, shape=victim.shape,
                                          generator=generator(seed, "walks")).guess}
    guesses |= {name: drawn.mean(0) for name, drawn in draws.items()}
    found = {f"{name}_{score}": float(value) for name, guess in guesses.items()
             for score, value in vars(judge(guess, victim, label, known)).items()}
    scores = candidate_scores(net, view, known.private[:GALLERY])
    return {**found, **single(draws, victim, label, known),
            **confidence(draws, victim), **findings(draws, victim, known, source, seed),
            "candidates_identified": float(scores.argmax() == 0)}


def single(draws: Mapping[str, Tensor], victim: Tensor, label: Tensor, known: Halves) -> dict:
    """Scores of single samples, the mean over them."""
    found = {}
    for name in ("diffusion", "unseen"):
        judged = [vars(judge(one, victim, label, known)) for one in draws[name]]
        found |= {f"{name}_one_{score}": float(np.mean([float(j[score]) for j in judged]))
                  for score in ("psnr", "uplift", "ssim", "identified")}
    return found


def confidence(draws: Mapping[str, Tensor], victim: Tensor) -> dict:
    """How far samples disagree, how wrong their mean is, and whether the one tells of the other.

    If the victim were one more sample, the mean of n would miss it by the disagreement times
    the root of 1 + 1/n: ``overconfidence`` is how much more it misses.
    """
    drawn = draws["diffusion"]
    spread = float(disagreement(drawn))
    error = float((drawn.mean(0) - victim).square().mean().sqrt())
    by_pixel = spearmanr(drawn.std(0).flatten(), (drawn.mean(0) - victim).abs().flatten())
    return {"disagreement": spread, "error": error, "pixel_rank": float(by_pixel.statistic),
            "overconfidence": error / (spread * (1 + 1 / len(drawn)) ** 0.5)}


def findings(draws: Mapping[str, Tensor], victim: Tensor, known: Halves, source: str,
             seed: int) -> dict:
    """Share of samples that the reader reads otherwise than the victim's own image."""
    net = reader(source, seed if source == "real" else 0)
    own = readings(net, victim)
    right = readings(net, known.private) == known.private_labels
    return {**{f"{name}_misread": float((readings(net, draws[name][:, 0]) != own).double().mean())
               for name in ("diffusion", "unseen")},
            "reader_accuracy": float(right.double().mean())}


def measure_release(known: Halves, noise: float, seed: int) -> dict:
    """Denoise the worst release of several victims, and look for each in the gallery."""
    victims = known.private[:RELEASED]
    noisy, spread = worst_case_release(victims, noise, generator=generator(seed, "release"))
    guesses = {"raw": noisy.clamp(0, 1),
               **{name: denoised(prior, noisy, spread)
                  for name, prior in zip(("diffusion", "gaussian"), priors(), strict=True)}}
    gallery = known.private[:GALLERY]
    found = {}
    for name, guess in guesses.items():
        judged = judge_in_order(guess, victims, gallery)
        found |= {f"{name}_{score}": value for score, value in judged.items()}
    apart = torch.cdist(noisy.flatten(1), gallery.flatten(1))
    found["candidates_identified"] = float((apart.argmin(1) == torch.arange(RELEASED))
                                           .double().mean())
    found["mean_psnr"] = float(psnr(mean_image(known.public, RELEASED), victims).mean())
    return found


def judge_in_order(guess: Tensor, victims: Tensor, gallery: Tensor) -> dict:
    """PSNR and identification of guesses that stand in the order of the victims."""
    return {"psnr": float(psnr(guess, victims).mean()),
            "identified": float(identified(guess, victims, gallery).mean())}


def tune(source: str, noise: float) -> dict[str, tuple[float, ...] | float]:
    """The settings of the highest mean PSNR: weight and rate of total variation, step of guidance.

    The second is given times the noise multiplier, as :data:`GUIDANCE` has it.
    """
    return {"variation": max(itertools.product(WEIGHTS, RATES),
                             key=lambda setting: tried(source, noise, variation=setting)),
            "guidance": max(STEP_SIZES, key=lambda step: tried(source, noise, guidance=step))}


def tried(source: str, noise: float, *, variation: tuple[float, float] | None = None,
          guidance: float | None = None) -> float:
    """Mean PSNR of one attack on the tuning seeds."""
    scores = []
    for seed in TUNING_SEEDS:
        known = halves(radiographs(source), seed)
        victim = known.private[:1]
        net = conv_net(generator(seed, "initial weights"), num_classes=2)
        view = noisy_view(net, victim, known.private_labels[:1], noise, seed)
        if guidance is None:
            guess = total_variation_guess(net, view, mean_image(known.public), *variation)
        else:
            guess = plain_guidance(net, view, chest_prior(), shape=victim.shape,
                                   step_size=guidance / noise,
                                   generator=generator(seed, "samples", "plain")).mean(0)
        scores.append(float(psnr(guess, victim)))
    return float(np.mean(scores))


# --- From trials to evidence ------------------------------------------------------------------

SCORES = {
    "psnr": ("PSNR", "dB"),
    "ssim": ("Structural similarity", "SSIM"),
    "uplift": ("PSNR less that of the better public mean image", "dB"),
    "identified": ("Share nearer to their own record than to any other of 200", "share of records"),
    "misread": ("Share of samples read otherwise than the victim's own image", "share of samples"),
}
WAYS = {
    "tv": "the likeliest image under total variation",
    "gaussian": "the mean of samples under a Gaussian prior of procedural images",
    "informed": "the mean of samples under a Gaussian prior of public images of the same kind",
    "diffusion": "the mean of samples under the diffusion prior",
    "expected": "the mean of walks under the diffusion prior that end early",
    "plain": "the mean of samples by plain guidance, DPS, under the diffusion prior",
    "diffusion_one": "single samples under the diffusion prior",
    "unseen": "the mean of samples that saw no update",
    "unseen_one": "single samples that saw no update",
    "candidates": "the likeliest of 200 candidates, among them the victim",
    "raw": "the noisy release as it is",
}
OTHERS = {
    "disagreement": ("Spread of the samples, root mean square.", "grey values"),
    "error": ("Error of the mean of the samples, root mean square.", "grey values"),
    "overconfidence": ("Error of the mean over what the spread of the samples foretells.", "ratio"),
    "pixel_rank": ("Rank correlation over pixels of the samples' spread and the mean's error.",
                   "rank correlation"),
    "reader_accuracy": ("Accuracy of the reader on private images.", "share of records"),
    "gain_over_tv": ("PSNR of the mean of samples less that of total variation.", "dB"),
    "gain_over_gaussian": ("PSNR under the diffusion prior less that under the Gaussian.", "dB"),
    "gain_over_plain": ("PSNR of the mean of samples less that by plain guidance.", "dB"),
    "gain_of_expected": ("PSNR of the mean of early ends less that of total variation.", "dB"),
    "gain_of_early_ends": ("PSNR of the mean of early ends less that of samples.", "dB"),
    "gain_of_plain": ("PSNR by plain guidance less that of total variation.", "dB"),
    "gain_over_unseen": ("PSNR of the mean of samples less that of samples without the update.",
                         "dB"),
    "mean_psnr": ("PSNR of the public mean image.", "dB"),
}
CONTRASTS = {"gain_over_tv": ("diffusion_psnr", "tv_psnr"),
             "gain_over_gaussian": ("diffusion_psnr", "gaussian_psnr"),
             "gain_over_plain": ("diffusion_psnr", "plain_psnr"),
             "gain_of_expected": ("expected_psnr", "tv_psnr"),
             "gain_of_early_ends": ("expected_psnr", "diffusion_psnr"),
             "gain_of_plain": ("plain_psnr", "tv_psnr"),
             "gain_over_unseen": ("diffusion_psnr", "unseen_psnr")}
PICTURES = ("psnr", "uplift", "identified")
KEPT = {
    "noise": [*(f"{way}_{score}" for way in ("tv", "gaussian", "diffusion", "diffusion_one",
                                             "expected", "plain", "unseen", "unseen_one")
                for score in PICTURES),
              "diffusion_ssim", "candidates_identified", "diffusion_misread", "unseen_misread",
              *(name for name in OTHERS if name != "mean_psnr")],
    "release": [*(f"{way}_{score}" for way in ("raw", "diffusion", "gaussian")
                  for score in ("psnr", "identified")), "candidates_identified", "mean_psnr"],
}
KEPT["real"] = [*KEPT["noise"], *(f"informed_{score}" for score in PICTURES)]


def summarise(results: list[tuple[dict, dict]]) -> list[Evidence]:
    """One statement a condition and score, from the trials of all seeds."""
    return [describe(setting, outcomes, score) for setting, outcomes in by_condition(results)
            for score in KEPT[setting["part"]]]


def describe(setting: dict, outcomes: list[dict], score: str) -> Evidence:
    """Evidence of one score; a trial is one draw of weights, split, victim and noise."""
    for name, (more, less) in CONTRASTS.items():
        outcomes = [o | {name: o[more] - o[less]} for o in outcomes] if name == score else outcomes
    runs = tuple(float(outcome[score]) for outcome in outcomes)
    statement, unit = named(score)
    interval, kind = interval_of(runs, unit)
    baseline, whose = compared_with(score, outcomes)
    data = radiographs("real" if setting["part"] == "real" else "synthetic")
    return Evidence(
        name=f"{setting['part']}_{setting['noise']}_{score}", statement=statement,
        value=float(np.mean(runs)), unit=unit,
        interval=interval, interval_kind=kind,
        baseline=baseline, baseline_kind=whose, runs=runs, seeds=SEEDS, data=data.provenance,
        data_sha256=data.sha256, scale="fast", version=leaklab.__version__, view="server",
        defence=f"clip to {MAX_GRAD_NORM:g}, noise multiplier {setting['noise']:g}",
        privacy_unit="record", clusters=len(np.unique(data.patients)),
        setting={"max_grad_norm": MAX_GRAD_NORM, "steps": BUDGET.evaluations,
                 "samples": BUDGET.restarts, "gallery": GALLERY, **setting})


def named(score: str) -> tuple[str, str]:
    """The statement of a score, and its unit."""
    if score in OTHERS:
        return OTHERS[score]
    way, _, what = score.rpartition("_")
    return f"{SCORES[what][0]}: {WAYS[way]}.", SCORES[what][1]


def compared_with(score: str, outcomes: list[dict]) -> tuple[float | None, str]:
    """What one without the update would reach, and who that is."""
    if score.endswith("_identified"):
        return 1 / GALLERY, "chance"
    if score == "diffusion_misread":
        return float(np.mean([o["unseen_misread"] for o in outcomes])), "samples without the update"
    if score.endswith("_uplift") or score.startswith("gain_"):
        return 0.0, "the better public mean image" if score.endswith("_uplift") else "no gain"
    prior = "diffusion_prior" if "diffusion_prior" in outcomes[0] else "mean_psnr"
    if score.endswith("_psnr"):
        return float(np.mean([o[prior] for o in outcomes])), "the public mean image"
    return None, "no guess applies"
