"""Data for the labs: a registry of files, a downloader that trusts nothing, loaders, splits.

    registry, download                   which files, where from, and how to know a good copy
    dataset, hospitals, scaling          what a loader returns, splits by patient, scales of columns
    heart, cleveland, diabetes, lung     tables of patients
    radiology                            images, real or painted: lidc, phantoms, radiographs
                                         and rendering are its parts
    film                                 one radiograph in full resolution
    notes, notes_grammar, mts_dialog     clinical notes, from a grammar and real
    genomes                              genotypes, families, phenotypes
"""
