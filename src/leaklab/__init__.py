"""leaklab: measure what your federated updates give away.

The helper library of the course "What Gradients Reveal". A few small values flow through it:

    data -> Hospital.train -> Update -> View of an observer -> attack -> Recovered -> Evidence

Importing the package is cheap: no submodule (and no torch) is loaded until it is asked for.
"""

__version__ = "0.1.0"
