"""Data for the labs: a registry of files, a downloader that trusts nothing, loaders, splits."""
