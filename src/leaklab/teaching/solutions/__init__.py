"""Solutions of the exercises; each lab shows its own, folded, below the exercise.

A solution is read from this folder when the labs are generated, so it is the very code that the
tests run through the checks. The functions of every module here are names of this package.
"""

import importlib
import pkgutil

for _found in pkgutil.iter_modules(__path__, f"{__name__}."):
    globals().update({
        name: solution for name, solution in vars(importlib.import_module(_found.name)).items()
        if getattr(solution, "__module__", None) == _found.name})
