"""Attacks run and judged as a whole: what an update gives away, beside what needed no update.

How attacks of one kind are judged: ``inversion`` (images), ``reading`` (records picked out of a
batch), ``notes``, ``membership``, ``rounds`` (membership in federations), ``observers`` (one round
as everybody sees it).

The scenes of single chapters, for their studies and labs: ``case_study`` (9),
``hidden_attributes`` (12), ``genotypes`` (13), ``imputation`` (14), ``allele_frequencies`` (15),
``under_privacy`` (16), ``sums`` (17).

Over all studies: ``grid``, attack by observer by defence; ``stacks``, defences in layers.

For a federation of one's own: ``audit`` attacks its model, ``worksheet`` turns evidence into an
impact assessment.
"""
