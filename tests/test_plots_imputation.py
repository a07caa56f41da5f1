"""The figure of a stretch of a genome shows what is known and marks what is wrong."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.patches import Rectangle

from leaklab.plots.imputation import strips

TRUTH = np.array([0, 2, 1, 0])


@pytest.fixture
def figure():
    ax = strips({"victim": TRUTH, "known": np.array([0, -1, -1, -1]),
                 "guess": np.array([0, 0, 1, 0])}, TRUTH, tag="REAL", title="found")
    yield ax
    plt.close(ax.figure)


def test_every_known_genotype_bears_its_number(figure):
    assert [text.get_text() for text in figure.texts] == list("0210" "0" "0010")
    assert [label.get_text() for label in figure.get_yticklabels()] == ["victim", "known", "guess"]


def test_wrong_ones_and_no_others_have_a_frame(figure):
    framed = [(int(p.get_y()), int(p.get_x())) for p in figure.patches
              if isinstance(p, Rectangle) and p.get_linewidth() > 0]
    assert framed == [(2, 1)]


def test_the_tag_stands_under_the_figure(figure):
    assert figure.figure.get_supxlabel() == "REAL"
