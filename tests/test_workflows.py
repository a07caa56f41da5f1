"""The workflows of GitHub do what they name, with pinned actions and the least rights.

One small function a rule, ``rule(file name, workflow) -> complaints``; each rejects a workflow that
breaks it.
"""

from __future__ import annotations

import copy
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet

import newest

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".github/workflows"
NAMES = ("checks.yml", "nightly.yml", "pages.yml")
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
PYTHONS = SpecifierSet(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
                       ["requires-python"])
READ = {"contents": "read"}
RIGHTS = {("pages.yml", "build"): {"contents": "read", "pages": "read"},
          ("pages.yml", "release"): {"contents": "write"},
          ("pages.yml", "deploy"): {"pages": "write", "id-token": "write"}}
PINNED = re.compile(r"actions/[\w-]+@(v\d+|[0-9a-f]{40})")


def read(name: str) -> dict:
    workflow = yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))
    workflow["on"] = workflow.pop(True)  # YAML 1.1 reads the word as a truth value
    return workflow


def steps(workflow: dict) -> Iterator[tuple[str, dict]]:
    """Each step with the name of its job."""
    for job, content in workflow["jobs"].items():
        for step in content["steps"]:
            yield job, step


# --- The rules ---------------------------------------------------------------------------------


def actions_are_those_of_github_and_pinned(_: str, workflow: dict) -> list[str]:
    used = [step["uses"] for _, step in steps(workflow) if "uses" in step]
    return [f"{action}: expected actions/NAME@ and a version" for action in used
            if not PINNED.fullmatch(action)]


def commands_call_targets_that_exist(_: str, workflow: dict) -> list[str]:
    called = [target for _, step in steps(workflow)
              for target in re.findall(r"\bmake ([\w-]+)", step.get("run", ""))]
    found = [f"make {target}: no such target" for target in called if target not in TARGETS]
    return found if called else ["calls no target of the Makefile"]


def commands_hold_no_expression(_: str, workflow: dict) -> list[str]:
    """What another names, such as a tag, must reach a shell as a variable, never as text."""
    return [f"{job}: an expression in {step['run']!r}" for job, step in steps(workflow)
            if "${{" in step.get("run", "")]


def rights_are_the_least(name: str, workflow: dict) -> list[str]:
    found = [] if workflow.get("permissions") == READ else ["expected contents: read for all"]
    return found + [f"{job}: {content.get('permissions')}, expected {RIGHTS.get((name, job))}"
                    for job, content in workflow["jobs"].items()
                    if content.get("permissions") != RIGHTS.get((name, job))]


def only_what_pushes_keeps_the_token(name: str, workflow: dict) -> list[str]:
    found = []
    for job, step in steps(workflow):
        if step.get("uses", "").startswith("actions/checkout@"):
            kept = step.get("with", {}).get("persist-credentials", True)
            pushes = RIGHTS.get((name, job), READ).get("contents") == "write"
            found += [f"{job}: persist-credentials {kept}, expected {pushes}"] * (kept != pushes)
    return found


def no_secret_is_read(_: str, workflow: dict) -> list[str]:
    return ["reads a secret"] if "secrets." in yaml.safe_dump(workflow) else []


def jobs_end(_: str, workflow: dict) -> list[str]:
    return [f"{job}: expected timeout-minutes of at most 90" for job, content in
            workflow["jobs"].items() if not 1 <= content.get("timeout-minutes", 360) <= 90]


def runs_do_not_pile_up(_: str, workflow: dict) -> list[str]:
    return [] if workflow.get("concurrency", {}).get("group") else ["expected concurrency.group"]


def pythons_are_those_of_the_project(_: str, workflow: dict) -> list[str]:
    asked = [step["with"]["python-version"] for _, step in steps(workflow)
             if step.get("uses", "").startswith("actions/setup-python@")]
    for job in workflow["jobs"].values():
        asked += job.get("strategy", {}).get("matrix", {}).get("python", [])
    versions = [a for a in asked if a != "${{ matrix.python }}"]
    return [f"Python {v!r}: expected a string of {PYTHONS}" for v in versions
            if not (isinstance(v, str) and PYTHONS.contains(v))]


RULES = (actions_are_those_of_github_and_pinned, commands_call_targets_that_exist,
         commands_hold_no_expression, rights_are_the_least, only_what_pushes_keeps_the_token,
         no_secret_is_read, jobs_end, runs_do_not_pile_up, pythons_are_those_of_the_project)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_workflow_keeps_the_rules(name, rule):
    assert rule(name, read(name)) == []


def test_there_is_no_other_workflow():
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(NAMES)


# --- Each rule rejects -------------------------------------------------------------------------


def step_of(workflow: dict, key: str) -> dict:
    return next(step for _, step in steps(workflow) if key in step)


BAD = {
    "actions_are_those_of_github_and_pinned": [
        lambda w: step_of(w, "uses").update(uses="actions/checkout@main"),
        lambda w: step_of(w, "uses").update(uses="actions/checkout"),
        lambda w: step_of(w, "uses").update(uses="someone/else@v1")],
    "commands_call_targets_that_exist": [
        lambda w: step_of(w, "run").update(run="make nothing"),
        lambda w: [step.pop("run", None) for _, step in steps(w)]],
    "commands_hold_no_expression": [
        lambda w: step_of(w, "run").update(run="make book TAG=${{ github.ref_name }}")],
    "rights_are_the_least": [
        lambda w: w.pop("permissions"), lambda w: w.update(permissions="write-all"),
        lambda w: w["jobs"]["checks"].update(permissions={"contents": "write"})],
    "only_what_pushes_keeps_the_token": [lambda w: step_of(w, "uses").pop("with")],
    "no_secret_is_read": [lambda w: w.update(env={"TOKEN": "${{ secrets.TOKEN }}"})],
    "jobs_end": [lambda w: w["jobs"]["checks"].pop("timeout-minutes"),
                 lambda w: w["jobs"]["checks"].update({"timeout-minutes": 360})],
    "runs_do_not_pile_up": [lambda w: w.pop("concurrency")],
    "pythons_are_those_of_the_project": [
        lambda w: w["jobs"]["checks"]["strategy"]["matrix"].update(python=["3.10"]),
        lambda w: w["jobs"]["checks"]["strategy"]["matrix"].update(python=[3.11])],
}


@pytest.mark.parametrize(("rule", "change"), [
    pytest.param(rule, change, id=f"{rule.__name__}-{number}")
    for rule in RULES for number, change in enumerate(BAD[rule.__name__])])
def test_a_rule_rejects_a_workflow_that_breaks_it(rule, change):
    workflow = copy.deepcopy(read("checks.yml"))
    change(workflow)
    assert rule("checks.yml", workflow) != []


# --- What each is for --------------------------------------------------------------------------


def commands(name: str) -> list[str]:
    return [step["run"] for _, step in steps(read(name)) if "run" in step]


def test_each_workflow_starts_when_it_should_and_runs_its_commands():
    assert set(read("checks.yml")["on"]) >= {"push", "pull_request"}
    assert {"make book", "make test", "make test-deployment"} <= set(commands("checks.yml"))
    assert "schedule" in read("nightly.yml")["on"]
    assert {"make colab-check", "make newest-check"} == set(commands("nightly.yml"))
    assert read("pages.yml")["on"] == {"push": {"tags": ["v*"]}}


def test_the_book_is_deployed_only_after_its_links_were_checked_and_its_wheel_fetched():
    jobs = read("pages.yml")["jobs"]
    assert "make publish" in [step.get("run") for step in jobs["build"]["steps"]]
    assert (jobs["release"]["needs"], jobs["deploy"]["needs"]) == ("build", "release")
    assert "curl --fail" in jobs["release"]["steps"][-1]["run"]


def test_no_repository_is_named_so_that_forks_publish_themselves():
    for name in NAMES:
        assert "github.com/" not in (FOLDER / name).read_text()


def test_packages_that_moved_are_listed():
    tested = {"a": "1.0", "b": "2.0", "c": "3.0", "torch": "2.1"}
    there = {"a": "1.0", "b": "2.1", "d": "4.0", "torch": "2.1+cpu", "pip": "9"}
    assert newest.moved(tested, there) == ["b: 2.0 -> 2.1", "c: 3.0 -> gone", "d: new -> 4.0"]
