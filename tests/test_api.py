"""Each public name says what it is, is shown by an example that runs, and is in the reference."""

import doctest
import importlib
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from conftest import promised_data

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "book/_ext"))

import api  # noqa: E402

LIBRARY = ROOT / "src/leaklab"
GROUPS = api.groups()
PARTS = {(group, part.module): part for group, found in GROUPS.items() for part in found.modules}
NEEDS = {  # what an example needs beside the dependencies of leaklab
    "leaklab.flower": "flwr", "leaklab.defences.differential_privacy": "opacus",
    "leaklab.defences.accounting": "opacus", "leaklab.defences.secure_aggregation": "cryptography",
    "leaklab.attacks.disaggregation": "cryptography", "leaklab.assess.worksheet": "pydantic",
    "leaklab.bounds": "dp_accounting",
}
EXAMPLE, START = 8, 20  # lines


def need_of(module: str) -> str | None:
    return next((need for name, need in NEEDS.items() if f"{module}.".startswith(f"{name}.")), None)


@pytest.fixture(autouse=True)
def away(tmp_path, monkeypatch):
    """An example writes nowhere but into its own folder, and leaves nothing behind."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv("LEAKLAB_SCALE", raising=False)


# --- What is public -------------------------------------------------------------------------


def declared() -> dict[str, set[str]]:
    """The modules with ``__all__``, and what is in it, read without importing them."""
    found = {}
    for path in sorted(LIBRARY.rglob("*.py")):
        parts = ("leaklab", *path.relative_to(LIBRARY).with_suffix("").parts)
        written = re.search(r"^__all__ = \[(.*?)\]", path.read_text(encoding="utf-8"), re.M | re.S)
        if written and "teaching" not in parts:
            name = ".".join(parts).removesuffix(".__init__")
            found[name] = set(re.findall(r'"(\w+)"', written[1]))
    return found


def on_the_page() -> dict[str, set[str]]:
    found = {}
    for part in (part for group in GROUPS.values() for part in group.modules):
        found.setdefault(part.module, set()).update(part.of)
    return found


HANDED_ON = {"leaklab.attacks.membership.updates": {"record_gradients"}}  # of leaklab.gradients


def test_the_page_holds_what_is_declared_public_and_nothing_else():
    shown = on_the_page()
    assert declared() == {module: names | HANDED_ON.get(module, set())
                          for module, names in shown.items()}
    page = (ROOT / "book/api.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"```\{leaklab-api\} (\w+)", page)) == list(GROUPS)


@pytest.mark.parametrize("module", list(on_the_page()))
def test_every_public_name_resolves(module):
    if (need := need_of(module)) and importlib.util.find_spec(need) is None:
        pytest.skip(f"{module} needs {need}, which is not installed")
    found = importlib.import_module(module)
    assert [name for name in found.__all__ if not hasattr(found, name)] == []


# --- What is said and shown of it ------------------------------------------------------------


def faults(module: ModuleType, part: api.Examples, start: str = "") -> list[str]:
    """What is wrong with the docstrings and the examples of one module."""
    found = []
    if not api.first_sentence(api.about(module)[0]):
        found.append(f"{part.module}: no docstring")
    opening: dict[str, object] = {"__name__": "example"}
    found += failures(start, opening, f"{part.module}, start of its group")
    found += failures(part.start, opening, f"{part.module}, start")
    for name, example in part.of.items():
        place = f"{part.module}.{name}"
        if not re.search(r"\w.*[.?:]$", api.first_sentence(api.docstring(module, name))):
            found.append(f"{place}: no first sentence")
        if not callable(getattr(module, name)):
            continue  # a constant is shown by its value
        if not re.search(rf"\b{name}\b", f"{start}\n{part.start}\n{example}"):
            found.append(f"{place}: its example does not use it")
        if (lines := len(re.findall(r"^(?:>>>|\.\.\.)", example, re.M))) > EXAMPLE:
            found.append(f"{place}: an example of {lines} lines, expected {EXAMPLE} at most")
        if not re.search(r"^(?!>>>|\.\.\.)", example, re.M):
            found.append(f"{place}: its example shows no output")
        found += failures(example, dict(opening), place)
    return found


def failures(source: str, names: dict, place: str) -> list[str]:
    """Run the lines of one example in ``names``, which they may change."""
    test = doctest.DocTestParser().get_doctest(source, {}, place, None, 0)
    test.globs = names
    said: list[str] = []
    try:
        runner = doctest.DebugRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
        runner.run(test, out=said.append, clear_globs=False)
    except doctest.DocTestFailure as failure:
        said = [f"{place}: {failure.example.source.strip()} gave {failure.got.strip()}, "
                f"expected {failure.example.want.strip()}"]
    except doctest.UnexpectedException as failure:
        if type(failure.exc_info[1]).__name__ == "DataUnavailable":
            raise failure.exc_info[1] from None
        said = [f"{place}: {failure.exc_info[1]!r}"]
    return said


@pytest.mark.parametrize(("group", "module"), list(PARTS))
def test_every_public_name_has_a_sentence_and_an_example_that_runs(group, module):
    if (need := need_of(module)) and importlib.util.find_spec(need) is None:
        pytest.skip(f"{module} needs {need}, which is not installed")
    part = PARTS[group, module]
    start = GROUPS[group].start
    assert len(part.start.splitlines()) <= START and len(start.splitlines()) <= START
    with promised_data():
        assert faults(importlib.import_module(module), part, start) == []


BROKEN = '''"""A module."""
def double(number):
    """Twice the number.

    More about it.
    """
    return 2 * number
'''
SHOWN = ">>> double = sample.double\n>>> double(3)\n6"


def sample(source: str = BROKEN) -> ModuleType:
    module = ModuleType("sample")
    exec(source, module.__dict__)
    return module


def test_a_sound_sample_passes_and_a_broken_one_is_named():
    def of(example, source=BROKEN):
        module = sample(source)
        return faults(module, api.Examples("sample", "", {"double": example}), "")

    start = "from types import SimpleNamespace as N; sample = N(double=lambda n: 2 * n)"
    sound = f">>> {start}\n{SHOWN}"
    assert of(sound) == []
    assert of(sound.replace("6", "7")) == ["sample.double: double(3) gave 6, expected 7"]
    assert "NameError" in of(SHOWN)[0]
    assert of(f">>> {start}\n>>> double = sample.double") == [
        "sample.double: its example shows no output"]
    assert of(">>> 1 + 1\n2") == ["sample.double: its example does not use it"]
    assert "9 lines, expected 8" in of(sound + "\n>>> n = 1" * 6)[0]
    bare = BROKEN.replace('"""Twice the number.\n\n    More about it.\n    """', "")
    assert of(sound, bare) == ["sample.double: no first sentence"]


def test_a_name_given_twice_is_refused():
    with pytest.raises(ValueError, match=r"leaklab.a: \['b', 'b'\] given, expected each name once"):
        api.read_examples("# leaklab.a\n## b\n>>> 1\n1\n## b\n>>> 2\n2\n")


# --- How it is set --------------------------------------------------------------------------


@pytest.mark.parametrize(("docstring", "sentence"), [
    ("One thing. And another.\n\nMore.", "One thing."),
    ("Of McMahan et al. (2017), on\ntwo lines.", "Of McMahan et al. (2017), on two lines."),
    ("", ""),
])
def test_the_first_sentence_is_found(docstring, sentence):
    assert api.first_sentence(docstring) == sentence


def test_a_constant_is_described_below_it():
    from leaklab import federation

    assert api.docstring(federation, "SERVER").startswith("Honest but curious")


def test_a_signature_shows_names_and_no_addresses():
    def shown(signature):
        return api.written_signature(None, "class", "n", object, {}, signature, None)[0]

    assert shown("(sampler=<function draw at 0x7f>)") == "(sampler=draw)"
    assert shown("(training: LocalTraining = <factory>)") == "(training: LocalTraining = ...)"


def test_of_a_module_its_users_are_told_what_it_is_for_and_where_it_is_from():
    module = ModuleType("sample", "What it does.\n\nHow it does it.\n\nThreat model: a server.\n\n"
                                  "After Zhu et al. (2019,\narXiv:1906.08935).\n\nAn aside.")
    assert [text.partition(" ")[0] for text in api.about(module)] == ["What", "Threat", "After"]


def test_labs_import_nothing_private():
    labs = sorted((ROOT / "notebooks/text").glob("*.md"))
    private = re.compile(r"^ *(?:from \S+ )?import .*\b_\w", re.MULTILINE)
    assert labs and private.search("from leaklab.federation import Round, _rounds")
    assert [lab.name for lab in labs if private.search(lab.read_text(encoding="utf-8"))] == []
