"""What the command line is pointed at: a Python file that makes a model, a file of records."""

from __future__ import annotations

import importlib.util
import sys
import traceback
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from leaklab.assess.audit.inputs import Batch
from leaklab.federation import Loss

LARGEST_DATA = 2 * 1024**3
NAMES = {"inputs", "targets", "groups"}
T = TypeVar("T")


def load_model(place: str, seed: int = 0) -> tuple[nn.Module, Loss]:
    """The model, and the loss, that ``file.py:function`` makes.

    The function takes no argument and returns the model, or the model and its loss of (outputs,
    targets); cross-entropy otherwise. The file is run, as a program of your own would be, and may
    import its neighbours, relatively too where it lies in a package. ``seed`` fixes the weights
    that it draws.

    Raises ``ValueError`` for another form, a missing file or function, another result, or whatever
    the file itself raised.
    """
    file, _, name = place.rpartition(":")
    if not file.endswith(".py") or not name.isidentifier():
        raise ValueError(f"model: {place!r} given, expected FILE.py:FUNCTION")
    path = Path(file)
    if not path.is_file():
        raise ValueError(f"model: no file {file!r}")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        make = getattr(_run(path.name, path, lambda: _module(path)), name, None)
        if not callable(make):
            raise ValueError(f"model: no function {name!r} in {path.name}")
        made = _run(f"{name}()", path, make)
    model, loss = made if isinstance(made, tuple) and len(made) == 2 else (made, cross_entropy)
    for what, given in (("model", model), ("loss", loss)):
        if isinstance(given, type):
            raise ValueError(f"{what}: the class {given.__name__} given, expected one made of it, "
                             f"such as {given.__name__}()")
    if not isinstance(model, nn.Module) or not callable(loss):
        raise ValueError(f"model: {name} returned {type(made).__name__}, expected a "
                         "torch.nn.Module, or one and its loss")
    return model, loss


def _module(path: Path) -> ModuleType:
    """The file as a module, with the name it has in its package; that and its folder are searched
    for what it imports."""
    folder, name = path.resolve().parent, path.stem
    sys.path.insert(0, str(folder))
    while (folder / "__init__.py").is_file():
        folder, name = folder.parent, f"{folder.name}.{name}"
    sys.path.insert(0, str(folder))
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(name, module)  # where dataclasses look up the words of annotations
    spec.loader.exec_module(module)
    return module


def _run(what: str, path: Path, call: Callable[[], T]) -> T:
    """What code of the user's own answers; what it raises is told with the line of ``path``."""
    try:
        return call()
    except (Exception, SystemExit) as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__)
                 if Path(frame.filename) == path.absolute()]
        place = f" ({path.name}, line {lines[-1]})" if lines else ""
        hint = ("; a file that imports relatively has to lie in a folder with an __init__.py"
                if "attempted relative import" in str(error) else "")
        raise ValueError(f"model: {what} raised {type(error).__name__}: {error}{place}{hint}"
                         ) from error


def load_data(path: Path | str) -> Batch:
    """The records of an ``.npz`` with arrays ``inputs``, ``targets`` and, if known, ``groups``.

    ``groups`` names the patient of each record, by numbers or words. Nothing is unpickled.

    Raises ``ValueError`` for another file, other arrays, or as :class:`Batch` does.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"data: no file {str(path)!r}")
    if path.stat().st_size > LARGEST_DATA:
        raise ValueError(f"data: {path.name} is larger than {LARGEST_DATA} bytes")
    try:
        archive = np.load(path, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise ValueError("it holds one array, without a name")
        with archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        hint = "; save numbers or words, not objects" if "Object arrays" in str(error) else ""
        raise ValueError(f"data: {path.name} cannot be read as .npz without pickles ({error}{hint})"
                         ) from error
    if not {"inputs", "targets"} <= set(arrays) <= NAMES:
        raise ValueError(f"data: arrays {sorted(arrays)} given, expected 'inputs', 'targets' and "
                         "at most 'groups'")
    groups = arrays.get("groups")
    return Batch(_inputs(arrays["inputs"]), _targets(arrays["targets"]),
                 None if groups is None else _numbered(groups))


def _inputs(array: np.ndarray) -> Tensor:
    if array.dtype.kind == "f":
        return torch.from_numpy(array.astype(np.float32))
    if array.dtype.kind in "iu" and array.ndim == 2 and array.dtype != np.uint8:
        return torch.from_numpy(array.astype(np.int64))
    raise ValueError(f"data: inputs of {array.dtype} and shape {array.shape} given, expected "
                     "floats as the model takes them, or integer tokens (n, length)")


def _targets(array: np.ndarray) -> Tensor:
    if array.dtype.kind in "iub":
        return torch.from_numpy(array.astype(np.int64))
    if array.dtype.kind == "f":
        return torch.from_numpy(array.astype(np.float32))
    raise ValueError(f"data: targets of {array.dtype} given, expected numbers")


def _numbered(groups: np.ndarray) -> Tensor:
    if groups.ndim != 1:
        raise ValueError(f"data: groups of shape {groups.shape} given, expected one a record")
    return torch.from_numpy(np.unique(groups, return_inverse=True)[1])
