"""What the command line is pointed at: a Python file that makes a model, a file of records."""

from __future__ import annotations

import importlib.util
import sys
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from leaklab.assess.audit.inputs import Batch
from leaklab.federation import Loss

LARGEST_DATA = 2 * 1024**3
NAMES = {"inputs", "targets", "groups"}


def load_model(place: str, seed: int = 0) -> tuple[nn.Module, Loss]:
    """The model, and the loss, that ``file.py:function`` makes.

    The function takes no argument and returns the model, or the model and its loss of (outputs,
    targets); cross-entropy otherwise. The file is run, as a program of your own would be, and may
    import its neighbours. ``seed`` fixes the weights that it draws.

    Raises ``ValueError`` for another form, a missing file or function, or another result.
    """
    file, _, name = place.rpartition(":")
    if not file.endswith(".py") or not name.isidentifier():
        raise ValueError(f"model: {place!r} given, expected FILE.py:FUNCTION")
    path = Path(file)
    if not path.is_file():
        raise ValueError(f"model: no file {file!r}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.resolve().parent))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        spec.loader.exec_module(module)
        make = getattr(module, name, None)
        if not callable(make):
            raise ValueError(f"model: no function {name!r} in {path.name}")
        made = make()
    model, loss = made if isinstance(made, tuple) and len(made) == 2 else (made, cross_entropy)
    if not isinstance(model, nn.Module) or not callable(loss):
        raise ValueError(f"model: {name} returned {type(made).__name__}, expected a "
                         "torch.nn.Module, or one and its loss")
    return model, loss


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
        with np.load(path, allow_pickle=False) as archive:
            if not hasattr(archive, "files"):
                raise ValueError("one array")
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"data: {path.name} cannot be read as .npz without pickles ({error})"
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
