"""The primers: every example gives what stands below it, and every primer has a self-test."""

import doctest
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PRIMERS = sorted((ROOT / "book/primers").glob("*.md"))


def failures(text: str) -> tuple[int, int]:
    """How many examples of a page fail, and how many there are."""
    blocks = "\n".join(re.findall(r"```pycon\n(.*?)```", text, re.DOTALL))
    test = doctest.DocTestParser().get_doctest(blocks, {}, "primer", None, 0)
    found = doctest.DocTestRunner(verbose=False).run(test, out=lambda _: None)
    return found.failed, found.attempted


@pytest.mark.parametrize("page", PRIMERS, ids=lambda page: page.stem)
def test_every_example_gives_what_the_primer_says(page):
    failed, attempted = failures(page.read_text(encoding="utf-8"))
    assert failed == 0 and attempted >= 5


def test_a_wrong_number_in_a_primer_is_noticed():
    page = (ROOT / "book/primers/gradients.md").read_text(encoding="utf-8")
    assert failures(page.replace("[ 4., 12.]", "[ 4., 13.]"))[0] > 0


@pytest.mark.parametrize("page", PRIMERS, ids=lambda page: page.stem)
def test_a_primer_can_be_read_in_ten_minutes_and_tests_its_reader(page):
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# Primer: ")
    prose = re.sub(r"```.*?```", "", text.partition("## Test yourself")[0], flags=re.DOTALL)
    assert len(prose.split()) <= 1300  # at a slow 130 words a minute
    questions = re.findall(r"^\d\. .*\?", text.partition("## Test yourself")[2], re.MULTILINE)
    assert len(questions) >= 5
    assert len(questions) == text.count(":::{dropdown} Answer")
    assert "(#test-yourself)" in text


def test_the_primers_are_in_the_book_and_led_to():
    names = {page.stem for page in PRIMERS}
    assert names == {"gradients", "probability", "genotypes"}
    contents = yaml.safe_dump(yaml.safe_load((ROOT / "_toc.yml").read_text()))
    guide = (ROOT / "book/how_to_use.md").read_text(encoding="utf-8")
    chapters = "\n".join(p.read_text() for p in (ROOT / "book").glob("[0-9][0-9]_*.md"))
    for name in names:
        assert f"book/primers/{name}" in contents
        assert f"](primers/{name}.md)" in guide and f"](primers/{name}.md)" in chapters
