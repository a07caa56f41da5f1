"""Solutions of the exercises; each lab shows its own, folded, below the exercise.

A solution is read from this folder when the labs are generated, so it is the very code that the
tests run through the checks.
"""

from leaklab.teaching.solutions import (
    audit,
    defences,
    foundations,
    genomes,
    inversion,
    law,
    membership,
)

for _part in (audit, defences, foundations, genomes, inversion, law, membership):
    globals().update({name: found for name, found in vars(_part).items()
                      if getattr(found, "__module__", None) == _part.__name__})
