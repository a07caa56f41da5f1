"""What holds for every test: one thread, no progress bars, and no silent skip of a lab.

Labs run through nbval (``pytest --nbval``). A lab names the data it needs; where these cannot be
had its cells are skipped with the reason, or fail where ``LEAKLAB_DATA`` promised them.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "tools"))
from lab_environment import lab_environment  # noqa: E402

os.environ.update(lab_environment(os.environ))
os.environ.pop("MPLBACKEND", None)  # it would change what a lab shows


def pytest_configure(config):
    """Give the kernels a profile of their own: the user's is not part of the course."""
    profile = tempfile.TemporaryDirectory(prefix="leaklab-ipython-")
    config.add_cleanup(profile.cleanup)
    settings = Path(profile.name, "profile_default/ipython_kernel_config.py")
    settings.parent.mkdir()
    settings.write_text("c.IPKernelApp.log_level = 40  # a kernel announces itself at 30\n")
    os.environ["IPYTHONDIR"] = profile.name


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Before a kernel starts: see to it that the lab's data are there."""
    if item.path.suffix == ".ipynb":
        require_data(item.path)


def require_data(notebook: Path) -> None:
    """Skip a test whose lab lacks data, with the reason; fail it where they were promised."""
    if reason := missing_data(notebook):
        if os.environ.get("LEAKLAB_DATA"):
            pytest.fail(f"LEAKLAB_DATA is set, but {reason}", pytrace=False)
        pytest.skip(reason)


@contextmanager
def promised_data() -> Iterator[None]:
    """Skip a test whose data cannot be had, with the reason; fail it where they were promised."""
    from leaklab.data.download import DataUnavailable

    try:
        yield
    except DataUnavailable as error:
        if os.environ.get("LEAKLAB_DATA"):
            raise
        pytest.skip(str(error).splitlines()[0])


@functools.cache
def missing_data(notebook: Path) -> str | None:
    """Why the data that ``notebook`` names cannot be had, or ``None`` where they can."""
    metadata = json.loads(notebook.read_text(encoding="utf-8"))["metadata"]
    names = metadata.get("leaklab", {}).get("data", [])
    if not names:
        return None
    from leaklab.data.download import ADVICE, DataUnavailable, obtain

    try:
        for name in names:
            obtain(name)
    except DataUnavailable as error:
        tried = " ".join(str(error).removesuffix(ADVICE).split())  # one line in pytest's summary
        return f"{notebook.name} needs data that cannot be had: {tried}"
    return None
