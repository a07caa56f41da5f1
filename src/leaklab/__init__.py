"""leaklab: measure what your federated updates give away.

The helper library of the course "What Gradients Reveal". A few small values flow through it:

    data -> Hospital.train -> Update -> View of an observer -> attack -> Recovered -> Evidence

The floors of the house, from the ground up; none imports one above it:

    runtime, updates                           seeds and devices; the values that flow
    data                                       files, loaders, splits by patient
    models, transformer, gradients,            what is trained, how a record pulls at it,
    metrics, prior                             how results are scored, a diffusion model of images
    defences                                   what a hospital does before an update leaves
    federation, federations, stack, schedule   federated averaging, and many models at once
    attacks, bounds, flower                    what is read; what theory allows; the same in Flower
    evidence, recorded, plots                  what was measured, and its figures
    assess                                     attacks judged as a whole, audit, worksheet
    teaching                                   for the labs alone

Importing the package is cheap: no submodule (and no torch) is loaded until it is asked for.
"""

__version__ = "0.1.0"
