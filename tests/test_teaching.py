"""The scrubber, the listings and the checked exercises."""

from __future__ import annotations

import base64
import io
import math
import re
from itertools import pairwise

import matplotlib.style
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from playwright.sync_api import expect, sync_playwright
from scipy.stats import norm as Normal
from scipy.stats import t as Student

from browser import FLAGS, find_chromium
from leaklab.federation import Hospital
from leaklab.teaching import checks, solutions
from leaklab.teaching.scrubber import scrubber
from leaklab.teaching.show import MarkedNote, fields, show_source


def sheet_of(page: str) -> np.ndarray:
    """The contact sheet inside the HTML, as grey or RGB values."""
    encoded = re.search(r'src="data:image/png;base64,([^"]+)"', page)[1]
    image = Image.open(io.BytesIO(base64.b64decode(encoded)))
    return np.asarray(image.convert("RGB"))


def ramp(steps: int = 4, images: int = 2, height: int = 3, width: int = 5) -> np.ndarray:
    shape = (steps, images, height, width)
    return np.arange(np.prod(shape)).reshape(shape) / np.prod(shape)


def show(frames, **changes):
    texts = [f"step {i}" for i in range(len(frames))]
    return scrubber(frames, **{"texts": texts, "name": "Step", "alt": "A ramp", **changes})


# --- Scrubber ----------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.tuples(*[st.integers(1, 4)] * 4), st.integers(0, 2**32 - 1))
def test_the_sheet_holds_every_grey_frame_in_its_place(shape, seed):
    frames = np.random.default_rng(seed).random(shape)
    sheet = sheet_of(show(frames).html)
    height, width = shape[2:]
    for t in range(shape[0]):
        for k in range(shape[1]):
            cell = sheet[k * height:(k + 1) * height, t * width:(t + 1) * width, 0]
            assert np.abs(cell / 255 - frames[t, k]).max() <= 0.5 / 15 + 1e-9


def test_the_sheet_holds_every_colour_frame_in_its_place():
    colours = np.array([[0, 114, 178], [213, 94, 0], [0, 158, 115]], dtype=np.uint8)
    frames = np.broadcast_to(colours[:, None, None], (3, 4, 6, 3))
    assert (sheet_of(show(frames).html) == np.repeat(colours, 6, axis=0)).all()


def test_rendered_figures_stand_in_lines_of_three_and_the_last_is_filled_up():
    colours = np.array([[0, 0, 0], [0, 114, 178], [213, 94, 0], [0, 158, 115]], dtype=np.uint8)
    frames = np.broadcast_to(colours[:, None, None], (4, 4, 6, 3))
    shown = show(frames).html
    sheet = sheet_of(shown)
    assert sheet.shape == (8, 18, 3) and 'width="18" height="8"' in shown
    assert (sheet[:4] == np.repeat(colours[:3], 6, axis=0)).all()
    assert (sheet[4:, :6] == colours[3]).all() and (sheet[4:, 6:] == 255).all()
    assert "Steps line by line, from step 0 to step 3." in shown


def test_equal_input_gives_equal_bytes_and_any_change_another_id():
    frames = ramp()
    first, again = show(frames), show(frames.copy())
    assert (first.html, first.png, first.text) == (again.html, again.png, again.text)
    changed = [show(frames, name="Round"), show(frames, alt="Another"), show(frames, start=1),
               show(frames, texts=list("abcd")), show(1 - frames)]
    ids = {re.search(r'<figure id="([^"]+)"', s.html)[1] for s in [first, *changed]}
    assert len(ids) == 6


def test_without_scripts_the_contact_sheet_is_described_and_nothing_is_loaded():
    page = show(ramp()).html
    before_script = page.split("<script>")[0]
    assert 'alt="A ramp. One column per step, from step 0 to step 3."' in before_script
    assert "display: none" not in before_script
    assert not re.search(r"https?://|\beval\b|new Function", page)


def test_markup_in_texts_stays_text():
    page = show(ramp(2), texts=['</script><b>"', "$id & more"], name="<i>", alt='"><img>').html
    assert page.count("</script>") == 1
    assert "<b>" not in page and "<i>" not in page and page.count("<img") == 1


def test_mimebundle_holds_html_a_thinned_picture_and_a_line():
    bundle = show(ramp(steps=20))._repr_mimebundle_()
    assert list(bundle) == ["text/html", "image/png", "text/plain"]
    picture = Image.open(io.BytesIO(base64.b64decode(bundle["image/png"])))
    assert picture.size == (8 * 5, 2 * 3)
    assert bundle["text/plain"] == "<scrubber 'Step': 20 steps, 2 x 3 x 5 pixels>"


@pytest.mark.parametrize(("frames", "changes", "complaint"), [
    (np.zeros((3, 4, 4)), {}, r"frames: shape \(3, 4, 4\) given"),
    (np.zeros((0, 1, 4, 4)), {"texts": []}, "frames: shape"),
    (ramp() * 2, {}, "frames: values from 0.0 to 1.98"),
    (np.full((2, 1, 4, 4), np.nan), {}, "frames: values from nan"),
    (np.zeros((2, 1, 4, 4), dtype=int), {}, "frames: int64 of shape"),
    (np.zeros((2, 3, 4, 4), dtype=np.uint8), {}, "frames: uint8 of shape"),
    (np.zeros((200, 1, 1, 100)), {}, "frames: 20000 pixels side by side"),
    (ramp(), {"texts": ["one"]}, "texts: 1 texts given, expected 4"),
    (ramp(), {"name": " "}, "name: "),
    (ramp(), {"alt": ""}, "alt: "),
    (ramp(), {"start": 4}, "start: 4 given, expected a step from 0 to 3"),
    (ramp(), {"ms": 0}, "ms: 0"),
    (ramp(), {"width": 0}, "width: 0"),
])
def test_bad_input_is_named(frames, changes, complaint):
    with pytest.raises(ValueError, match=complaint):
        show(frames, **changes)


# --- Scrubber in a browser ---------------------------------------------------------------------

POLICY = ("default-src 'self' 'unsafe-inline' data: blob:; object-src 'none'; base-uri 'self'")


@pytest.fixture(scope="module")
def browser():
    path = find_chromium()
    if path is None:
        pytest.skip("no Chromium found; install it or set LEAKLAB_CHROMIUM to its path")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser):
    """A page under the book's content security policy that notes every complaint."""
    page = browser.new_page()
    page.complaints = []
    page.on("console", lambda message: page.complaints.append(message.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("request", lambda request: request.url.startswith(("http", "ws"))
            and page.complaints.append(request.url))
    yield page
    page.close()


def open_page(page, *parts: str) -> None:
    meta = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    page.set_content(f'<!DOCTYPE html><meta charset="utf-8"><title>t</title>{meta}{"".join(parts)}')


def position(page) -> str:
    """Where the windows onto the contact sheet stand."""
    return page.locator("[role=img] span").evaluate_all(
        "tiles => tiles.map(tile => tile.style.backgroundPosition).join('; ')")


def test_arrow_keys_move_through_the_frames(page):
    open_page(page, show(ramp()).html)
    slider, output = page.get_by_role("slider", name="Step"), page.locator("output")
    assert (output.inner_text(), position(page)) == ("step 0", "0% 0%; 0% 100%")
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert output.inner_text() == "step 1"
    assert slider.get_attribute("aria-valuetext") == "step 1"
    assert [p.split("%")[0][:5] for p in position(page).split("; ")] == ["33.33", "33.33"]
    assert page.get_by_role("img", name="A ramp, step 1").is_visible()
    assert page.complaints == []


def test_the_window_stands_on_the_frame_of_its_step_in_every_line(page):
    colours = np.array([[i * 60, 0, 255 - i * 60] for i in range(5)], dtype=np.uint8)
    frames = np.broadcast_to(colours[:, None, None], (5, 4, 6, 3))
    open_page(page, show(frames).html)
    slider = page.get_by_role("slider", name="Step")
    slider.focus()
    for colour in colours:
        shot = Image.open(io.BytesIO(page.locator("[role=img]").screenshot())).convert("RGB")
        assert np.abs(np.asarray(shot)[10, 10].astype(int) - colour).max() <= 2
        page.keyboard.press("ArrowRight")
    assert page.complaints == []


def test_play_runs_to_the_end_and_offers_itself_again(page):
    open_page(page, show(ramp(), ms=5).html)
    page.get_by_role("button", name="Play").click()
    # no wait_for_function: it polls with eval, which the page's security policy refuses
    expect(page.locator("output")).to_have_text("step 3")
    page.get_by_role("button", name="Play").wait_for()
    assert page.complaints == []


def test_two_scrubbers_share_a_page_and_jupyterlab_leaves_their_keys_alone(page):
    open_page(page, show(ramp()).html, show(ramp(), name="Round", start=2).html)
    assert page.locator("output").all_inner_texts() == ["step 0", "step 2"]
    assert page.locator("[data-lm-suppress-shortcuts=true]").count() == 4
    assert page.complaints == []


def test_print_shows_all_frames(page):
    open_page(page, show(ramp()).html)
    sheet = page.locator("img[alt^='A ramp']")
    assert not sheet.is_visible()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert sheet.is_visible() and not page.get_by_role("slider").is_visible()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert not sheet.is_visible() and page.get_by_role("slider").is_visible()


# --- Listings and style ------------------------------------------------------------------------


def test_show_source_shows_the_code():
    listing = show_source(solutions.fedprox_gradient)
    assert "mu * (weights - global_weights)" in listing.data
    compile(listing.data, "listing", "exec")  # indented as in the file
    compile(show_source(Hospital.train).data, "a method", "exec")
    assert listing._repr_html_() == show_source(solutions.fedprox_gradient)._repr_html_()
    with pytest.raises(TypeError, match="function: 3 given"):
        show_source(3)


def test_fields_show_the_digits_in_which_they_are_written(capsys):
    fields(("age", "bp"), ("years", "mm Hg"), (1, 0.01), (59.0, 101.0), (59.3, 100.994))
    assert capsys.readouterr().out == (
        "age years  true        59  read        59\n"
        "bp  mm Hg  true    101.00  read    100.99\n")
    with pytest.raises(ValueError, match="argument 5"):
        fields(("age",), ("years",), (1,), (59.0,), ())


def test_the_style_tells_lines_apart_without_colour():
    with matplotlib.style.context("leaklab.teaching.course"):
        lines = list(matplotlib.rcParams["axes.prop_cycle"])
    assert len(lines) == len({line["color"] for line in lines}) == 7
    assert len({line["marker"] for line in lines}) == 7
    assert all(a["linestyle"] != b["linestyle"] for a, b in pairwise(lines))


# --- Exercises ---------------------------------------------------------------------------------


def mean_of_states(states, weights):
    return {n: sum(w * s[n] for s, w in zip(states, weights, strict=True)) for n in states[0]}


def added_in_place(states, num_examples):
    total = states[0]
    for state in states[1:]:
        for name in total:
            total[name] *= num_examples[0] / sum(num_examples)
            total[name] += state[name] * num_examples[1] / sum(num_examples)
    return total


def interval(values, quantile):
    """Mean and ends, so many standard errors away."""
    mean, half = np.mean(values), quantile * np.std(values, ddof=1) / len(values) ** 0.5
    return [float(mean), float(mean - half), float(mean + half)]


WRONG = {
    "fedprox_gradient": {
        "pulled away": lambda g, w, w0, mu: g - mu * (w - w0),
        "no gradient": lambda g, w, w0, mu: mu * (w - w0),
        "twice as strong": lambda g, w, w0, mu: g + 2 * mu * (w - w0),
        "plain FedAvg": lambda g, w, w0, mu: g,
        "drift without its sign": lambda g, w, w0, mu: g + mu * (w - w0).abs(),
        "missing a dimension": lambda g, w, w0, mu: (g + mu * (w - w0)).sum(),
        "in place": lambda g, w, w0, mu: g.add_(mu * (w - w0)),
    },
    "weighted_mean": {
        "plain mean": lambda s, n: mean_of_states(s, [1 / len(s)] * len(s)),
        "not normalised": lambda s, n: mean_of_states(s, n),
        "whole numbers": lambda s, n: {
            k: v.floor() for k, v in solutions.weighted_mean(s, n).items()},
        "a list": lambda s, n: list(solutions.weighted_mean(s, n).values()),
        "one tensor only": lambda s, n: {"weight": solutions.weighted_mean(s, n)["weight"]},
        "first two only": lambda s, n: mean_of_states(s[:2], [m / sum(n[:2]) for m in n[:2]]),
        "in place": added_in_place,
    },
    "bytes_per_round": {
        "one direction": lambda m, h: h * sum(
            t.numel() * t.element_size() for t in m.state_dict().values()),
        "without buffers": lambda m, h: 2 * h * sum(
            p.numel() * p.element_size() for p in m.parameters()),
        "always four bytes": lambda m, h: 2 * h * 4 * sum(
            t.numel() for t in m.state_dict().values()),
        "one hospital": lambda m, h: 2 * sum(
            t.numel() * t.element_size() for t in m.state_dict().values()),
    },
    "other_hospital": {
        "unweighted": lambda g, w, n, m: 2 * g - w,
        "weights swapped": lambda g, w, n, m: ((n + m) * g - m * w) / n,
        "forgets to divide": lambda g, w, n, m: (n + m) * g - n * w,
        "whole numbers": lambda g, w, n, m: ((n + m) * g - n * w) // m,
        "not a tensor": lambda g, w, n, m: ((n + m) * g - n * w).tolist(),
    },
    "mean_gradient": {
        "sign": lambda b, a, lr, e: (a - b) / (lr * e),
        "one step": lambda b, a, lr, e: (b - a) / lr,
        "no learning rate": lambda b, a, lr, e: (b - a) / e,
    },
    "class_share": {
        "sign": lambda s, b, a, lr: s - (a - b) / lr,
        "no learning rate": lambda s, b, a, lr: s + a - b,
        "said only": lambda s, b, a, lr: s,
    },
    "divide_out": {
        "first row": lambda w, b: w[0] / b[0],
        "largest without its sign": lambda w, b: w[b.argmax()] / b[b.argmax()],
        "mean of the ratios": lambda w, b: (w / b[:, None]).nanmean(0),
        "times": lambda w, b: w[b.abs().argmax()] * b.abs().max(),
    },
    "agreement": {
        "no bias": lambda x, d, w, b: ((x @ w.T > 0) == (d != 0)).double().mean(),
        "slopes above zero": lambda x, d, w, b: ((x @ w.T + b > 0) == (d > 0)).double().mean(),
        "on only": lambda x, d, w, b: (d != 0)[x @ w.T + b > 0].double().mean(),
        "as many": lambda x, d, w, b: 1 - ((x @ w.T + b > 0).sum() - (d != 0).sum()).abs() / 6.0,
    },
    "whole_counts": {
        "rounded alone": lambda p, g, n: (n * (p - g)).round(),
        "sign": lambda p, g, n: solutions.whole_counts(p, -g, n),
        "shares": lambda p, g, n: p - g,
        "rest to the largest counts": lambda p, g, n: (n * (p - g)).floor().index_add(
            0, (n * (p - g)).argsort(descending=True)[:int(n - (n * (p - g)).floor().sum())],
            torch.ones(int(n - (n * (p - g)).floor().sum()))),
        "all to one": lambda p, g, n: (n * (p - g)).floor().index_add(
            0, (n * (p - g)).argmax()[None], (n - (n * (p - g)).floor().sum())[None]),
    },
    "cosine_distance": {
        "cosine": lambda m, o: sum((a * b).sum() for a, b in zip(m, o, strict=True)) / (
            sum(a.square().sum() for a in m) * sum(b.square().sum() for b in o)).sqrt(),
        "mean over tensors": lambda m, o: 1 - sum(
            (a * b).sum() / (a.norm() * b.norm() + 1e-12) for a, b in zip(m, o, strict=True)) / 2,
        "no norms": lambda m, o: 1 - sum((a * b).sum() for a, b in zip(m, o, strict=True)),
        "cut off from its gradient": lambda m, o: solutions.cosine_distance(m, o).detach(),
    },
    "total_variation": {
        "absolute": lambda x: ((x[1:, :-1] - x[:-1, :-1]).abs()
                               + (x[:-1, 1:] - x[:-1, :-1]).abs()).mean(),
        "sum": lambda x: ((x[1:, :-1] - x[:-1, :-1]).square()
                          + (x[:-1, 1:] - x[:-1, :-1]).square()).sqrt().sum(),
        "cut off from its gradient": lambda x: solutions.total_variation(x.detach()),
        "no root": lambda x: ((x[1:, :-1] - x[:-1, :-1]).square()
                              + (x[:-1, 1:] - x[:-1, :-1]).square()).mean(),
    },
    "uplift": {
        "best for each": lambda s, p: s - torch.stack(p).max(0).values,
        "clipped": lambda s, p: (s - max(p, key=lambda q: q.mean())).clamp(min=0),
        "first": lambda s, p: s - p[0],
    },
    "independent_numbers": {
        "all entries": lambda b, c, d: c * d,
        "rank of records": lambda b, c, d: min(b, d) * (c + d - min(b, d)),
        "any number of records": lambda b, c, d: (c - 1) * d,
        "any number of features": lambda b, c, d: min(b, c - 1) * (c - 1 + d - min(b, c - 1)),
        "all rows free": lambda b, c, d: min(b, c - 1, d) * (c + d - min(b, c - 1, d)),
    },
    "rest_of": {
        "unweighted": lambda g, n, parts: (n * g - sum(s for s, _ in parts)) / (n - len(parts)),
        "forgets to divide": lambda g, n, parts: n * g - sum(c * s for s, c in parts),
        "own part only": lambda g, n, parts: (
            n * g - sum(c * s for s, c in parts[:1])) / (n - sum(c for _, c in parts[:1])),
        "divides by all": lambda g, n, parts: (n * g - sum(c * s for s, c in parts)) / n,
    },
    "owner_chance": {
        "evenly": lambda counts: 1 / len(counts),
        "smallest": lambda counts: min(counts) / sum(counts),
        "first": lambda counts: counts[0] / sum(counts),
        "by size at random": lambda counts: sum(c * c for c in counts) / sum(counts) ** 2,
    },
    "leak_shown": {
        "uplift only": lambda u, i, n: u[0] > 0,
        "above zero": lambda u, i, n: u[0] > 0 or i[0] > 0,
        "both": lambda u, i, n: u[0] > 0 and i[0] > 1 / n,
        "touching zero": lambda u, i, n: u[0] >= 0 or i[0] > 1 / n,
        "touching chance": lambda u, i, n: u[0] > 0 or i[0] >= 1 / n,
        "high ends": lambda u, i, n: u[1] > 0 or i[1] > 1 / n,
    },
    "moved_tokens": {
        "upwards only": lambda a, b: (b > a).any(1).nonzero()[:, 0],
        "sums cancel": lambda a, b: ((b - a).sum(1) != 0).nonzero()[:, 0],
        "first column": lambda a, b: (a != b)[:, 0].nonzero()[:, 0],
        "a mask": lambda a, b: (a != b).any(1),
    },
    "words_in_order": {
        "nearest row": lambda p, r: torch.cdist(p, r).argmin(1),
        "largest product": lambda p, r: (p @ r.T).argmax(1),
        "the wrong way round": lambda p, r: torch.linalg.lstsq(p.T, r.T).solution.argmax(0),
    },
    "outside_span": {
        "columns": lambda g, x: (x[: len(g)] - g @ torch.linalg.pinv(g) @ x[: len(g)]).norm()
        / x.norm(),
        "not a share": lambda g, x: (x - g.T @ torch.linalg.pinv(g.T) @ x).norm(),
        "inside": lambda g, x: (g.T @ torch.linalg.pinv(g.T) @ x).norm() / x.norm(),
        "rows taken as orthonormal": lambda g, x: (x - g.T @ (g @ x)).norm() / x.norm(),
    },
    "neighbours": {
        "rows as they are": lambda w, b: w[b != 0] / b[b != 0, None],
        "last row lost": lambda w, b: ((w[:-1] - w[1:]) / (b[:-1] - b[1:])[:, None])[
            b[:-1] != b[1:]],
        "empty bins kept": lambda w, b: (w - torch.cat([w[1:], 0 * w[:1]])) / (
            b - torch.cat([b[1:], 0 * b[:1]]))[:, None],
        "the neighbour before": lambda w, b: solutions.neighbours(w.flip(0), b.flip(0)),
        "without signs": lambda w, b: solutions.neighbours(w, b).abs(),
    },
    "bins_needed": {
        "counts the record itself": lambda b, s: math.ceil(1 / (1 - s ** (1 / b))),
        "rounded down": lambda b, s: math.floor(1 / (1 - s ** (1 / (b - 1)))),
        "one too many where it fits": lambda b, s: math.floor(1 / (1 - s ** (1 / (b - 1)))) + 1,
        "for small shares": lambda b, s: math.ceil((b - 1) / -math.log(s)),
        "one bin a record": lambda b, s: math.ceil(b * s),
    },
    "alarm_bound": {
        "zero": lambda n: 0.0,
        "rule of three": lambda n: 3 / n,
        "one in so many": lambda n: 1 / n,
        "of the silence": lambda n: 0.05 ** (1 / n),
    },
    "kalman_update": {
        "shares swapped": lambda m, v, y, s: m + s**2 / (v + s**2) * (y - m),
        "noise not squared": lambda m, v, y, s: m + v / (v + s) * (y - m),
        "variance squared": lambda m, v, y, s: m + v**2 / (v**2 + s**2) * (y - m),
        "the measurement": lambda m, v, y, s: y,
        "half way": lambda m, v, y, s: (m + y) / 2,
        "only the measurement's share": lambda m, v, y, s: m + v / (v + s**2) * y,
    },
    "reconstruction_bound": {
        "times the noise": lambda n, s: Normal.cdf(Normal.ppf(1 / n) + s),
        "without chance": lambda n, s: Normal.cdf(1 / s),
        "noise squared": lambda n, s: Normal.cdf(Normal.ppf(1 / n) + 1 / s**2),
        "no quantile": lambda n, s: Normal.cdf(1 / n + 1 / s),
        "always one": lambda n, s: 1.0,
    },
    "certainty": {
        "without the prior": lambda prior, tpr, fpr: tpr / (tpr + fpr),
        "prior of the wrong side": lambda prior, tpr, fpr: (
            (1 - prior) * tpr / ((1 - prior) * tpr + prior * fpr)),
        "share accused rightly": lambda prior, tpr, fpr: prior * tpr,
        "one less the false alarms": lambda prior, tpr, fpr: 1 - fpr,
    },
    "named_members": {
        "one by one through ties": lambda s, m, k: next(
            sum(flags[:n]) for flags in [[bool(m[i]) for i in s.argsort(descending=True)]]
             for n in range(len(flags), -1, -1) if n - sum(flags[:n]) <= k),
        "everybody at or above": lambda s, m, k: max(
            [int((s >= t).sum()) for t in s.unique() if (~m)[s >= t].sum() <= k], default=0),
        "false alarms among members": lambda s, m, k: solutions.named_members(s, ~m, k),
        "strictly above": lambda s, m, k: int(max(
            m[s > t].sum() for t in s.unique() if (~m)[s > t].sum() <= k)),
        "fewer than allowed": lambda s, m, k: solutions.named_members(s, m, k - 1),
    },
    "above_strangers": {
        "two-sided": lambda margin, outside: abs(solutions.above_strangers(margin, outside)),
        "sample deviation": lambda margin, outside: (margin - outside.mean()) / outside.std(),
        "not divided": lambda margin, outside: margin - outside.mean(),
        "by the variance": lambda margin, outside: (
            (margin - outside.mean()) / outside.var(correction=0)),
        "squared about zero": lambda margin, outside: (
            (margin - outside.mean()) / outside.square().mean().sqrt()),
    },
    "rounds_together": {
        "plain mean": lambda s, d: sum(s) / len(s),
        "weighted mean": lambda s, d: sum(a * b for a, b in zip(s, d, strict=True)) / sum(d),
        "not divided": lambda s, d: sum(a * b for a, b in zip(s, d, strict=True)),
        "the best round": lambda s, d: max(s),
    },
    "against_others": {
        "itself among them": lambda s, k: float((s[k] - np.mean(s)) / np.std(s)),
        "one less": lambda s, k: float((s[k] - np.mean(np.delete(s, k)))
                                       / np.std(np.delete(s, k), ddof=1)),
        "no spread": lambda s, k: float(s[k] - np.mean(np.delete(s, k))),
    },
    "best_area": {
        "one release": lambda sigma, t: float(Normal.cdf(1 / sigma / math.sqrt(2))),
        "releases add up": lambda sigma, t: float(Normal.cdf(t / sigma / math.sqrt(2))),
        "no root of two": lambda sigma, t: float(Normal.cdf(math.sqrt(t) / sigma)),
    },
    "most_fitting": {
        "product, not divided": lambda g, u: int((g @ u).argmax()),
        "size of the cosine": lambda g, u: int((g @ u / g.norm(dim=1)).abs().argmax()),
        "least distance": lambda g, u: int((g - u).norm(dim=1).argmin()),
        "two values only": lambda g, u: int(torch.cosine_similarity(g[:2], u[None]).argmax()),
        "least": lambda g, u: int((g @ u / g.norm(dim=1)).argmin()),
        "sum of sizes": lambda g, u: int((g @ u / g.abs().sum(1)).argmax()),
    },
    "break_even": {
        "gain over filling in": lambda m, s, f: (m - f) / (m - s),
        "ratio": lambda m, s, f: f / m,
        "cut at one": lambda m, s, f: min(1.0, (f - s) / (m - s)),
        "half way": lambda m, s, f: 0.5,
    },
    "even_out": {
        "overall mean": lambda c, g: c - c.mean(0),
        "two groups only": lambda c, g: torch.where(
            (g == 0)[:, None], c - c[g == 0].mean(0), c - c[g != 0].mean(0)),
        "mean over columns": lambda c, g: c - torch.stack([c[g == k].mean() for k in g])[:, None],
        "scaled too": lambda c, g: torch.stack(
            [(c[k] - c[g == g[k]].mean(0)) / (c[g == g[k]].std(0) + 1) for k in range(len(c))]),
    },
    "snps_needed": {
        "a distance, not its square": lambda d, n, r: d * n * (n + r) / r,
        "population known": lambda d, n, r: d**2 * n,
        "share upside down": lambda d, n, r: d**2 * n * r / (n + r),
    },
    "worth": {
        "sizes, not squares": lambda c: len(c) ** 2 / c.abs().sum(),
        "signs kept": lambda c: len(c) ** 2 / c.sum(),
        "no diagonal": lambda c: len(c) ** 2 / (c.square().sum() - len(c) + 1e-9),
        "rank": lambda c: torch.linalg.matrix_rank(c).float(),
    },
    "beacon_evidence": {
        "one allele a person": lambda s, f, n, w: solutions.beacon_evidence(
            s, 1 - (1 - f).sqrt(), n, w),
        "member among the others": lambda s, f, n, w: torch.where(
            s, (1 - w * (1 - f) ** (2 * n)) / (1 - (1 - f) ** (2 * n)), torch.tensor(w)
        ).log().sum(),
        "yes counts only": lambda s, f, n, w: solutions.beacon_evidence(s[s], f[s], n, w),
        "the other way round": lambda s, f, n, w: -solutions.beacon_evidence(s, f, n, w),
    },
    "rounds_needed": {
        "one-sided": lambda b, level: next(n for n in range(1, 999) if (1 - level) ** (1 / n) > b),
        "one too few": lambda b, level: max(1, solutions.rounds_needed(b, level) - 1),
        "always 95 %": lambda b, level: solutions.rounds_needed(b, 0.95),
        "reaches the baseline": lambda b, level: next(
            n for n in range(1, 999) if ((1 - level) / 2) ** (1 / n) >= b),
        "begins at the baseline's power": lambda b, level: next(
            n for n in range(1, 999) if b**n < 1 - level),
    },
    "exit_status": {
        "missing counts as nothing": lambda v, b, t: int(any(
            (x or 0) - y > t for x, y in zip(v, b, strict=True))),
        "without the baseline": lambda v, b, t: 3 if all(x is None for x in v) else int(
            max(x for x in v if x is not None) > t),
        "any missing": lambda v, b, t: 3 if None in v else solutions.exit_status(v, b, t),
        "zero counts as missing": lambda v, b, t: (
            solutions.exit_status(v, b, t) if any(v) else 3),
        "below counts too": lambda v, b, t: 3 if v == [None] else int(any(
            abs(x - y) > t for x, y in zip(v, b, strict=True) if x is not None)),
        "the mean decides": lambda v, b, t: 3 if all(x is None for x in v) else int(
            sum(x - y for x, y in zip(v, b, strict=True) if x is not None) / len(v) > t),
    },
    "excluded_rate": {
        "rule of three": lambda n, level: 3 / n,
        "level the other way round": lambda n, level: 1 - level ** (1 / n),
        "two-sided": lambda n, level: 1 - ((1 - level) / 2) ** (1 / n),
        "of a hit in each": lambda n, level: (1 - level) ** (1 / n),
    },
    "finding": {
        "the estimate": lambda low, high, b, t: 2 if (low + high) / 2 > b else 1 * (high - b > t),
        "touching counts": lambda low, high, b, t: 2 if low >= b else 1 * (high - b > t),
        "no power": lambda low, high, b, t: 2 if low > b else 0,
        "reaches it": lambda low, high, b, t: 2 if low > b else 1 * (high - b >= t),
        "no baseline": lambda low, high, b, t: 2 if low > 0 else 1 * (high > t),
        "only beyond what is tolerated": lambda low, high, b, t:
            2 if low - b > t else 1 * (high - b > t),
    },
    "told": {
        "one limit for both": lambda people, state: [True, state >= 500, people >= 500],
        "the other one": lambda people, state: [True, state > 500, people > 500],
        "media by all people": lambda people, state: [True, people > 500, people >= 500],
        "nobody below the limit": lambda people, state: [
            people >= 500, state > 500, people >= 500],
    },
    "patient_gradient": {
        "clipped record by record": lambda g, c: (
            g * (c / g.norm(dim=1)).clamp(max=1)[:, None]).mean(0),
        "the sum, not the mean": lambda g, c: g.sum(0) * min(1, c / float(g.sum(0).norm())),
        "always of norm C": lambda g, c: g.mean(0) * c / g.mean(0).norm(),
        "not clipped": lambda g, c: g.mean(0),
    },
    "most_accused": {
        "one release": lambda f, sigma, t: float(Normal.cdf(Normal.ppf(f) + 1 / sigma)),
        "releases add up": lambda f, sigma, t: float(Normal.cdf(Normal.ppf(f) + t / sigma)),
        "upside down": lambda f, sigma, t: float(
            Normal.cdf(Normal.ppf(f) + sigma / math.sqrt(t))),
    },
    "proved_epsilon": {
        "one error only": lambda a, m, d: max(0.0, math.log((1 - m - d) / a)),
        "delta forgotten": lambda a, m, d: max(
            0.0, math.log((1 - m) / a), math.log((1 - a) / m)),
        "below zero": lambda a, m, d: max(
            math.log((1 - m - d) / a), math.log((1 - a - d) / m)),
        "no logarithm": lambda a, m, d: max(0.0, (1 - m - d) / a, (1 - a - d) / m),
        "delta one way round only": lambda a, m, d: max(
            0.0, math.log(max(1 - m - d, 1e-9) / a), math.log((1 - a) / m)),
    },
    "switch_chance": {
        "centimorgans for morgans": lambda d, k: 1 - math.exp(-40_000 * d / k),
        "goes on": lambda d, k: math.exp(-400 * d / k),
        "haplotypes forgotten": lambda d, k: 1 - math.exp(-400 * d),
    },
    "carriers_right": {
        "all SNPs": lambda g, t: (g == t).float().mean(),
        "carriers of the truth only": lambda g, t: (g == t)[t > 0].float().mean(),
        "carrier or not": lambda g, t: ((g > 0) == (t > 0))[(g > 0) | (t > 0)].float().mean(),
    },
    "kinship_of": {
        "share of the genome": lambda a, u, d: a * 0.5 ** (u + d),
        "ancestors forgotten": lambda a, u, d: 0.5 ** (u + d + 1),
        "generations multiplied": lambda a, u, d: a * 0.5 ** (u * d + 2),
    },
    "whole_rows": {
        "any whole number": lambda rows, t: ((rows - rows.round()).abs() <= t).all(1),
        "all entries together": lambda rows, t: (rows - rows.round().clamp(0, 2)).norm(dim=1) <= t,
        "on average": lambda rows, t: (rows - rows.round().clamp(0, 2)).abs().mean(1) <= t,
        "one entry is enough": lambda rows, t: (
            (rows - rows.round().clamp(0, 2)).abs() <= t).any(1),
    },
    "guess_right": {
        "never a carrier": lambda f: ((1 - f) ** 2).mean(),
        "of one allele": lambda f: torch.maximum(f, 1 - f).mean(),
        "no heterozygotes": lambda f: torch.maximum((1 - f) ** 2, f**2).mean(),
        "heterozygotes halved": lambda f: torch.stack(
            [(1 - f) ** 2, f * (1 - f), f**2]).amax(0).mean(),
    },
    "luck": {
        "both heterozygous": lambda h: -(h**2).log2().sum(),
        "neither": lambda h: -((1 - h) ** 2).log2().sum(),
        "in nats": lambda h: -(h**2 + (1 - h) ** 2).log().sum(),
    },
    "own_noise": {
        "shares added as they are": lambda mu, t, k, c: math.sqrt(t) / mu / (k - c),
        "all counted on": lambda mu, t, k, c: math.sqrt(t / k) / mu,
        "releases for free": lambda mu, t, k, c: 1 / math.sqrt(k - c) / mu,
        "releases added as they are": lambda mu, t, k, c: t / math.sqrt(k - c) / mu,
        "more privacy with less noise": lambda mu, t, k, c: math.sqrt(t / (k - c)) * mu,
    },
    "cheapest_that_holds": {
        "most private": lambda e, a, p: min(range(len(e)), key=lambda k: e[k]),
        "most accurate": lambda e, a, p: max(range(len(e)), key=lambda k: a[k]),
        "first that holds": lambda e, a, p: next((k for k in range(len(e)) if e[k] <= p), -1),
        "just holds": lambda e, a, p: max((k for k in range(len(e)) if e[k] <= p),
                                          key=lambda k: e[k], default=-1),
        "strictly below": lambda e, a, p: max((k for k in range(len(e)) if e[k] < p),
                                              key=lambda k: a[k], default=-1),
        "nothing said": lambda e, a, p: max((k for k in range(len(e)) if e[k] <= p),
                                            key=lambda k: a[k], default=0),
    },
    "masked_word": {
        "all added": lambda x, k, m, mod: (x + sum(m[:k]) + sum(m[k + 1:])) % mod,
        "signs turned": lambda x, k, m, mod: (x - sum(m[k + 1:]) + sum(m[:k])) % mod,
        "no modulus": lambda x, k, m, mod: x + sum(m[k + 1:]) - sum(m[:k]),
        "one's own too": lambda x, k, m, mod: (x + sum(m[k:]) - sum(m[:k])) % mod,
    },
    "fraction_bits": {
        "no sign": lambda n, r, a, b: solutions.fraction_bits(n, r, a, b + 1),
        "one hospital": lambda n, r, a, b: solutions.fraction_bits(1, r, a, b),
        "just full": lambda n, r, a, b: int(math.log2(2 ** (b - 1) / (n * r * a))),
        "records left out": lambda n, r, a, b: solutions.fraction_bits(n, 1, a, b),
    },
    "determined": {
        "took part": lambda p: p.any(0),
        "full rank or nothing": lambda p: (torch.linalg.matrix_rank(p) == p.shape[1]).repeat(
            p.shape[1]),
        "alone once": lambda p: (p[p.sum(1) == 1] > 0).any(0),
        "nothing added by others": lambda p: (
            torch.linalg.pinv(p) @ p - torch.eye(p.shape[1])).amax(1) < 1e-4,
        "not every time": lambda p: (1 - p).any(0),
        "a column of its own": lambda p: torch.stack(
            [(p[:, k] == p.T).all(1).sum() == 1 for k in range(p.shape[1])]),
    },
    "gain_interval": {
        "normal, not t": lambda a, b: interval(np.subtract(a, b), 1.959964),
        "two intervals": lambda a, b: [interval(a, 4.302653)[k] - interval(b, 4.302653)[k]
                                       for k in range(3)],
        "deviation, not error": lambda a, b: interval(
            np.subtract(a, b), 4.302653 * len(a) ** 0.5),
        "divided by n": lambda a, b: [np.subtract(a, b).mean() + sign * Student.ppf(
            0.975, len(a) - 1) * np.subtract(a, b).std() / len(a) ** 0.5 for sign in (0, -1, 1)],
    },
    "commoner_share": {
        "of class 1": lambda y: float((y == 1).double().mean()),
        "a half": lambda y: 0.5,
        "two classes": lambda y: max(float(y.double().mean()), 1 - float(y.double().mean())),
        "a count": lambda y: int(y.bincount().max()),
    },
    "unusualness": {
        "own mean": lambda x, p: ((x - x.mean(0)) / p.std(0, correction=0)).square().mean(1).sqrt(),
        "divided by n - 1": lambda x, p: ((x - p.mean(0)) / p.std(0)).square().mean(1).sqrt(),
        "largest column": lambda x, p: ((x - p.mean(0)) / p.std(0, correction=0)).abs().amax(1),
        "signs cancel": lambda x, p: ((x - p.mean(0)) / p.std(0, correction=0)).mean(1).abs(),
        "not scaled": lambda x, p: (x - p.mean(0)).square().mean(1).sqrt(),
        "sum": lambda x, p: ((x - p.mean(0)) / p.std(0, correction=0)).norm(dim=1),
    },
    "read_rate": {
        "draws": lambda who, read: float(read.double().mean()),
        "read at least once": lambda who, read: float(np.mean(
            [bool(read[who == k].any()) for k in who.unique()])),
        "always read": lambda who, read: float(np.mean(
            [bool(read[who == k].all()) for k in who.unique()])),
        "last draw": lambda who, read: float(np.mean(
            [bool(read[who == k][-1]) for k in who.unique()])),
    },
    "exposure": {
        "ties count": lambda a, b: float((a[:, None] >= b).double().mean()),
        "ties do not": lambda a, b: float((a[:, None] > b).double().mean()),
        "one threshold": lambda a, b: max(float(((a >= t).double().mean()
                                                 + (b < t).double().mean()) / 2) for t in a),
        "model by model": lambda a, b: float((a[:len(b)] > b[:len(a)]).double().mean()),
        "difference of means": lambda a, b: float(a.mean() - b.mean()),
    },
    "foretold_share": {
        "of all": lambda f, e, k: solutions.foretold_share(f, e, k) * k / len(f),
        "mean exposure": lambda f, e, k: float(e[f.topk(k).indices].mean()),
        "in the same order": lambda f, e, k: float(
            (f.topk(k).indices == e.topk(k).indices).double().mean()),
        "largest size": lambda f, e, k: solutions.foretold_share(f.abs(), e, k),
        "lowest": lambda f, e, k: solutions.foretold_share(-f, e, k),
    },
    "most_snps": {
        "rounded up": lambda n, r, a, p: solutions.most_snps(n, r, a, p) + 1,
        "not squared": lambda n, r, a, p: math.floor(
            (Normal.isf(a) - Normal.isf(p)) * n * (n + r) / r),
        "half the members": lambda n, r, a, p: solutions.most_snps(n, r, a, 0.5),
        "quantiles added": lambda n, r, a, p: math.floor(
            (Normal.isf(a) + Normal.isf(p)) ** 2 * n * (n + r) / r),
        "exact reference": lambda n, r, a, p: solutions.most_snps(n, 1e15, a, p),
        "a distance below zero": lambda n, r, a, p: math.floor(
            (Normal.isf(a) - Normal.isf(p)) ** 2 * n * (n + r) / r),
    },
    "accused_share": {
        "between two strangers": lambda s, o, a: float(
            (s > o.quantile(1 - a)).double().mean()),
        "from the threshold on": lambda s, o, a: float(
            (s >= o.sort(descending=True).values[math.floor(a * len(o))]).double().mean()),
        "own quantile": lambda s, o, a: float((s > s.quantile(1 - a)).double().mean()),
        "rounded up": lambda s, o, a: float(
            (s > o.sort(descending=True).values[math.ceil(a * len(o))]).double().mean()),
    },
    "read_share": {
        "entries": lambda g, t, d: float(((g - t).abs() <= d / 2).double().mean()),
        "a whole digit": lambda g, t, d: float(((g - t).abs() <= d).all(1).double().mean()),
        "one digit for all": lambda g, t, d: float(
            ((g - t).abs() <= d[0] / 2).all(1).double().mean()),
        "not below": lambda g, t, d: float(((g - t) <= d / 2).all(1).double().mean()),
        "any entry": lambda g, t, d: float(((g - t).abs() <= d / 2).any(1).double().mean()),
    },
    "named_share": {
        "pairs": lambda own, others: float((own[:, None] > others).double().mean()),
        "ties count": lambda own, others: float((own[:, None] >= others).all(1).double().mean()),
        "above the mean": lambda own, others: float((own > others.mean(1)).double().mean()),
        "all rounds together": lambda own, others: float((own > others.max()).double().mean()),
    },
    "still_possible": {
        "the estimate": lambda k, n, level: k / n,
        "two-sided": lambda k, n, level: solutions.still_possible(k, n, (1 + level) / 2),
        "zero hits only": lambda k, n, level: 1 - (1 - level) ** (1 / n),
        "below instead": lambda k, n, level: solutions.still_possible(k, n, 1 - level),
        "rule of three": lambda k, n, level: min(1.0, (k + 3) / n),
    },
    "accusations": {
        "without the prior": lambda n, prior, tpr, fpr: [n * tpr, n * fpr],
        "false alarms of all": lambda n, prior, tpr, fpr: [n * prior * tpr, n * fpr],
        "the other way round": lambda n, prior, tpr, fpr: [n * (1 - prior) * fpr, n * prior * tpr],
        "shares": lambda n, prior, tpr, fpr: [prior * tpr, (1 - prior) * fpr],
    },
}


def named(function, name):
    function.__name__ = name
    return function


@pytest.mark.parametrize("name", WRONG)
def test_every_check_accepts_its_solution(name, capsys):
    getattr(checks, name)(getattr(solutions, name))
    assert capsys.readouterr().out == f"Exercise {name}: passed\n"


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("nothing", [None, ...])
def test_an_unsolved_stub_does_not_stop_run_all(name, nothing, capsys):
    getattr(checks, name)(named(lambda *arguments: nothing, name))
    assert capsys.readouterr().out == f"Exercise {name}: not attempted yet (it returns nothing)\n"


@pytest.mark.parametrize(("name", "mistake"), [(n, m) for n in WRONG for m in WRONG[n]])
def test_every_check_rejects_plausible_mistakes_and_shows_the_case(name, mistake):
    with pytest.raises(AssertionError, match=f"Exercise {name}, case {name}"):
        getattr(checks, name)(named(WRONG[name][mistake], name))


def test_every_solution_has_a_check_and_is_tested_here():
    exercises = {n for n, f in vars(solutions).items() if callable(f)}
    assert exercises == set(WRONG)
    assert exercises <= set(vars(checks))


def test_a_solution_that_gives_up_halfway_is_not_called_unattempted():
    halfway = named(lambda g, w, w0, mu: g + mu * (w - w0) if mu == 0.5 else None,
                    "fedprox_gradient")
    with pytest.raises(AssertionError, match="returned None"):
        checks.fedprox_gradient(halfway)


def test_cases_do_not_leak_from_one_call_into_the_next():
    seen = []
    checks.run_cases(named(lambda x: (seen.append(x), x + 1)[1], "plus_one"),
                     [checks.Case((torch.zeros(2),), torch.ones(2), "")] * 2)
    assert seen[0] is not seen[1]


# --- The wire ---------------------------------------------------------------------------------


def test_tls_hides_the_contents_and_shows_the_size():
    pytest.importorskip("cryptography", reason="comes with Flower: pip install leaklab[flower]")
    from leaklab.teaching.wire import over_tls

    payload = bytes(range(256)) * 800  # more than a dozen TLS records
    seen = over_tls(payload)
    assert payload[:32] not in seen and b"localhost" in seen  # the peer's name is not hidden
    assert len(payload) < len(seen) < 1.05 * len(payload)
    assert over_tls(payload) != seen, "keys are drawn anew for each connection"


# --- Notes ------------------------------------------------------------------------------------


def test_a_marked_note_says_in_words_what_it_says_in_colour():
    words = ["Seen", ":", "Ada", "&", "Co", ",", "1", "2", "."]
    note = MarkedNote(words, [("number", 6, 8), ("name", 2, 5)], "SYNTHETIC")
    assert repr(note) == "Seen : [name: Ada & Co] , [number: 1 2] .\nSYNTHETIC"
    page = note._repr_html_()
    assert "Ada &amp; Co <small>name</small>" in page and "SYNTHETIC" in page
    assert page.count("<mark") == 2
