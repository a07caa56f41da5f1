"""Membership inference: was this record among those the model learnt from?

The attacker holds the record and its label, may ask the released model for its outputs, and knows
how models like it are trained. It does not see an update; what a federation adds is in the modules
``updates`` and ``rounds``. A score is float64, higher for likelier members, and says nothing until
a threshold is chosen: :mod:`leaklab.metrics.roc` judges it, after :mod:`leaklab.metrics.validity`
has made sure that there is no way to tell members by looks.
"""
