"""Published attacks, one family a file: ``attack(model, view, ...) -> Recovered``.

A ``View`` is all that an attack learns about the hospitals. Where it needs what is unknown, it
raises ``ValueError`` and says what.

    dense_layer, exclusive_neurons, spear, labels,      records and labels by algebra
    dense_images
    gradient_matching, feature_inversion,               images by search, of records or of a class
    class_inversion
    diffusion_prior, guided_means                       images with a prior
    malicious_server, disaggregation, adapted           crafted models, changing sums, defences
    text                                                clinical notes
    genotypes, imputation, kinship, frequencies         genomes
    membership, attributes, properties                  who took part, and what else is told
    canaries, epsilon_bounds, sampler_audit             audits of epsilon
    diagnose                                            why an inversion will fail

Parts that they share: ``observed`` (the mean gradient behind a view), ``layers`` (that of a dense
layer), ``simulated`` (the hospital inside the attack), ``search`` (descent within a budget),
``measured`` (an update as a noisy measurement of images).
"""
