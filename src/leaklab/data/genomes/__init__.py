"""Genotypes of real people from public panels, and relatives and phenotypes made from them.

The people of the 1000 Genomes Project agreed that their genomes be open to anyone; nobody's name,
family or health is part of the data. Here they carry codes of this package, all relatives are made
by gene dropping, all phenotypes are drawn: nothing that a lab finds is a fact about a person.
"""
