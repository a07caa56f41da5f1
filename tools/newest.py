"""List the packages whose installed version is not the tested one: ``python tools/newest.py``.

`make newest-check` runs it in an environment that no constraint holds back, before the tests, so
that a failure there can be laid at the door of a package.
"""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Mapping

from packaging.utils import canonicalize_name

from lock import ROOT, pins

OUR_OWN = {"leaklab", "pip", "setuptools"}  # in every environment, and never pinned


def moved(tested: Mapping[str, str], installed: Mapping[str, str]) -> list[str]:
    """One line a package that differs, by name; build labels such as +cpu do not count."""
    plain = {name: version.partition("+")[0] for name, version in installed.items()
             if name not in OUR_OWN}
    return [f"{name}: {tested.get(name, 'new')} -> {plain.get(name, 'gone')}"
            for name in sorted({*tested, *plain}) if tested.get(name) != plain.get(name)]


def main() -> None:
    there = {canonicalize_name(d.name): d.version for d in importlib.metadata.distributions()}
    tested = pins((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    lines = moved(tested, there)
    print(f"Python {sys.version.split()[0]}; {len(lines)} packages differ from constraints.txt:")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
