"""Panels, relatives and diseases: what is read, what is made, and what is refused."""

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import promised_data
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from leaklab.data.genomes import chr20, chr22, families, phenotypes, sites
from leaklab.data.genomes.panel import Panel, aligned, standardised


def tiny(dosages=((0, 1, 2), (2, 1, 0)), position=(10, 20, 30), **changes) -> Panel:
    dosages = np.array(dosages, dtype=np.uint8)
    people, snps = dosages.shape
    fields = dict(
        name="tiny", dosages=dosages, people=np.array([f"t-{k}" for k in range(people)]),
        ancestries=np.full(people, "EUR"), chromosome=np.ones(snps, dtype=np.int8),
        position=np.array(position), ref=np.array(list("ACG")[:snps]),
        alt=np.array(list("TGA")[:snps]), tag="SYNTHETIC", licence="none", citation="", sha256="")
    return Panel(**fields | changes)


def test_a_panel_counts_its_alleles():
    panel = tiny([[0, 1, 2], [0, 1, 1]])
    assert panel.frequencies.tolist() == [0, 0.5, 0.75] and panel.minor.tolist() == [0, 0.5, 0.25]
    assert len(panel) == 2 and panel.snps == 3


@pytest.mark.parametrize(("changes", "named"), [
    (dict(dosages=((0, 3, 1),)), "dosages: 3 among 1 entries"),
    (dict(dosages=((0, 255, 255),)), "missing calls"),
    (dict(position=(10, 30, 20)), "position: SNPs out of order"),
    (dict(ref=np.array(["A"])), "ref: 1 entries given, expected 3"),
    (dict(centimorgans=np.zeros(2)), "centimorgans: 2 entries"),
    (dict(haplotypes=np.zeros((4, 3), np.uint8)), "haplotypes: rows that do not add up"),
    (dict(haplotypes=np.zeros((2, 3), np.uint8)), "haplotypes: shape"),
    (dict(tag="MADE"), "tag"),
])
def test_a_panel_refuses_what_is_no_panel(changes, named):
    with pytest.raises(ValueError, match=named):
        tiny(**changes)


def test_taking_people_and_snps_takes_their_haplotypes_along():
    haplotypes = np.array([[0, 1, 1], [0, 0, 1], [1, 0, 0], [1, 1, 0]], dtype=np.uint8)
    panel = tiny(haplotypes=haplotypes, centimorgans=np.array([0.0, 1.0, 2.0]))
    part = panel.take(people=[1], snps=np.array([True, False, True]))
    assert part.haplotypes.tolist() == [[1, 0], [1, 0]] and part.dosages.tolist() == [[2, 0]]
    assert part.position.tolist() == [10, 30] and part.centimorgans.tolist() == [0, 2]


def test_alignment_finds_order_swaps_and_what_is_missing():
    like = tiny()
    swapped = tiny(ref=np.array(["T", "C", "G"]), alt=np.array(["A", "G", "A"]))
    assert aligned(swapped, like).dosages.tolist() == [[2, 1, 2], [0, 1, 0]]
    assert aligned(tiny(), like.take(snps=[0, 2])).dosages.tolist() == [[0, 2], [2, 0]]
    with pytest.raises(ValueError, match=r"panel: no SNP at 1:30 given"):
        aligned(like.take(snps=[0, 1]), like)
    with pytest.raises(ValueError, match="other alleles at 1:10"):
        aligned(tiny(alt=np.array(["C", "G", "A"])), like)


def test_alignment_tells_two_variants_at_one_place_apart():
    like = tiny(position=(10, 10, 30))
    other = like.take(snps=[1, 0, 2])
    assert aligned(other, like).dosages.tolist() == like.dosages.tolist()


def test_aligned_haplotypes_still_add_up():
    haplotypes = np.array([[0, 1, 1], [0, 0, 1], [1, 0, 0], [1, 1, 0]], dtype=np.uint8)
    panel = tiny(haplotypes=haplotypes)
    turned = aligned(replace(panel, ref=panel.alt, alt=panel.ref), panel)
    assert (turned.haplotypes == 1 - haplotypes).all()  # Panel checks the sums


def test_standardised_dosages_of_random_mating_have_mean_0_and_variance_1():
    rng = np.random.default_rng(0)
    frequencies = rng.uniform(0.1, 0.9, 50)
    values = standardised(rng.binomial(2, frequencies, (20_000, 50)), frequencies)
    assert values.dtype == np.float32
    assert abs(values.mean(axis=0)).max() < 0.05 and abs(values.var(axis=0) - 1).max() < 0.08


@pytest.mark.parametrize("frequency", [0.0, 1.0, np.nan])
def test_a_monomorphic_snp_is_named_not_divided_by(frequency):
    with pytest.raises(ValueError, match=r"frequencies: .*\[1\]"):
        standardised(np.array([[0, 1]]), np.array([0.5, frequency]))


# --- The public panels ------------------------------------------------------------------------


def test_the_sites_panel_is_the_one_that_was_published():
    with promised_data():
        panel = sites.load()
    assert panel.dosages.shape == (2504, 23_770) and panel.tag == "REAL"
    counts = {group: int((panel.ancestries == group).sum()) for group in sites.ANCESTRIES}
    assert counts == {"AFR": 661, "AMR": 347, "EAS": 504, "EUR": 503, "SAS": 489}
    europeans = panel.take(people=panel.ancestries == "EUR")
    assert (europeans.minor > 0.05).sum() == 11_235
    # the labels belong to the people: within a group they are more alike than across
    common = panel.take(snps=panel.minor > 0.2)
    z = standardised(common.dosages, common.frequencies)
    mean = {group: z[common.ancestries == group].mean(axis=0) for group in sites.ANCESTRIES}
    nearest = np.array(sites.ANCESTRIES)[
        np.stack([z @ mean[group] - mean[group] @ mean[group] / 2
                  for group in sites.ANCESTRIES]).argmax(axis=0)]
    assert (nearest == common.ancestries).mean() > 0.95


def test_the_sites_panel_has_its_alleles_at_known_places():
    with promised_data():
        panel = sites.load()
    # variants whose frequencies are textbook knowledge (GRCh37): EDAR V370A, ABCC11 G180R
    known = {(2, 109_513_601): {"EAS": 0.87, "EUR": 0.01, "AFR": 0.0},
             (16, 48_258_198): {"EAS": 0.78, "EUR": 0.14, "AFR": 0.01}}
    for (chromosome, position), shares in known.items():
        snp = panel.take(snps=(panel.chromosome == chromosome) & (panel.position == position))
        assert snp.snps == 1
        for group, share in shares.items():
            found = snp.take(people=snp.ancestries == group).frequencies
            assert found == pytest.approx([share], abs=0.01)


def test_chromosome_20_has_linkage_and_both_parts_count_the_same_allele():
    with promised_data():
        reference, targets = chr20.load()
    assert reference.dosages.shape == (300, 10_187) and targets.dosages.shape == (203, 10_187)
    groups, counts = np.unique(reference.ancestries, return_counts=True)
    assert dict(zip(groups, counts, strict=True)) == {"CEU": 3, "FIN": 99, "GBR": 91, "IBS": 107}
    groups, counts = np.unique(targets.ancestries, return_counts=True)
    assert dict(zip(groups, counts, strict=True)) == {"CEU": 96, "TSI": 107}
    assert reference.minor.min() >= 0.01 and np.diff(reference.centimorgans).min() >= 0
    assert np.corrcoef(reference.frequencies, targets.frequencies)[0, 1] > 0.97
    common = np.flatnonzero(reference.minor > 0.2)[:200]
    near = np.corrcoef(reference.haplotypes[:, common].T) ** 2
    far = np.corrcoef(reference.haplotypes[:, common].T,
                      reference.haplotypes[:, np.flatnonzero(reference.minor > 0.2)[-200:]].T) ** 2
    assert np.diag(near, 1).mean() > 0.4 > 0.05 > far[:200, 200:].mean()
    assert chr20.array().sum() == 1972


def test_chromosome_22_is_read_as_plink_reads_it():
    with promised_data():
        panel = chr22.load()
    assert panel.dosages.shape == (378, 15_938) and panel.minor.min() > 0
    assert np.diff(panel.centimorgans).min() >= 0
    close = np.flatnonzero(panel.minor > 0.2)[:300]
    assert (np.diag(np.corrcoef(panel.dosages[:, close].T) ** 2, 1)).mean() > 0.2


def test_a_bed_file_is_read_bit_by_bit():
    # the worked example of PLINK's documentation of the format: 6 people, 3 SNPs
    bed = bytes.fromhex("6c1b01 dc0f e70f 6b01")
    assert chr22._dosages(bed, 6, 3).T.tolist() == [
        [2, 0, 255, 0, 0, 0], [0, 255, 1, 0, 0, 0], [0, 1, 1, 255, 255, 2]]


@pytest.mark.parametrize("bed", [b"\x6c\x1b\x00" + bytes(6), b"\x6c\x1b\x01" + bytes(5), b""])
def test_another_bed_file_is_refused(bed):
    with pytest.raises(ValueError, match=r"bed: \d bytes given"):
        chr22._dosages(bed, 6, 3)


# --- The VCF files that the local pack was made of --------------------------------------------

HEADER = "##fileformat=VCFv4.1\n#CHROM POS ID REF ALT QUAL FILTER INFO FORMAT HG00096 NA20502\n"


def vcf(folder: Path, *lines: str) -> Path:
    text = (HEADER + "".join(f"20 {line}\n" for line in lines)).replace(" ", "\t")
    path = folder / "calls.vcf.gz"
    path.write_bytes(gzip.compress(text.encode()))
    return path


def test_calls_of_a_vcf_are_read_with_and_without_phase(tmp_path):
    path = vcf(tmp_path, "5 . A T . . . GT 0|1 1/1", "9 . C CT . . . GT:PS 1|0:5 0|0:.")
    samples, variants, alleles = chr20._read_vcf(path)
    assert samples == ["HG00096", "NA20502"]
    assert variants == [("5", "A", "T"), ("9", "C", "CT")]
    assert alleles.tolist() == [[0, 1], [1, 0], [1, 0], [1, 0]]


@pytest.mark.parametrize("line", [
    "5 . A T . . . GT ./. 0|0", "5 . A T . . . GT 0|2 0|0", "5 . A T . . . GT 0|1"])
def test_a_call_that_is_no_pair_of_alleles_is_refused(tmp_path, line):
    with pytest.raises(ValueError, match=r"calls.vcf.gz: .* at position 5, expected 2 of two"):
        chr20._read_vcf(vcf(tmp_path, line))


def test_vcf_files_give_what_the_pack_gives(tmp_path, monkeypatch):
    """The whole path of a user without the pack, on files of eight variants."""
    with promised_data():
        reference, targets = chr20.load()
    table = {name: column[:8] for name, column in chr20._table().items()}
    monkeypatch.setattr(chr20, "_table", lambda: table)
    monkeypatch.setattr(chr20, "SITES", 8)
    monkeypatch.setenv("LEAKLAB_CACHE", str(tmp_path / "cache"))
    files = {}
    for name, alleles in (
            (chr20.REFERENCE, reference.haplotypes[:, :8]),
            (chr20.TARGETS, np.repeat(targets.dosages[:, :8], 2, axis=0) > [[1], [0]] * 203)):
        pairs = alleles.reshape(-1, 2, 8).astype(int)
        rare = "\t".join(["20", "1", ".", "A", "C", ".", ".", ".", "GT", "0|1"]
                         + ["0|0"] * (len(pairs) - 1))
        lines = [HEADER.splitlines()[0], "\t".join(
            HEADER.splitlines()[1].split()[:9] + [f"HG{k:05d}" for k in range(len(pairs))]), rare]
        lines += ["\t".join(["20", table["position"][k], ".", table["ref"][k], table["alt"][k],
                             ".", ".", ".", "GT", *(f"{a}|{b}" for a, b in pairs[:, :, k])])
                  for k in range(8)]
        files[name] = tmp_path / name
        files[name].write_bytes(gzip.compress(("\n".join(lines) + "\n").encode()))
    monkeypatch.setattr(chr20, "obtain", lambda name: files)
    for _ in range(2):  # the second time from the cache
        again, others = chr20.load()
        assert np.array_equal(again.haplotypes, reference.haplotypes[:, :8])
        assert np.array_equal(others.dosages, targets.dosages[:, :8])


def test_vcf_files_of_other_variants_are_refused(tmp_path):
    path = vcf(tmp_path, "5 . A T . . . GT 0|1 1/1")
    with pytest.raises(ValueError, match="other variants"):
        chr20._from_vcf(path, path)


# --- Relatives --------------------------------------------------------------------------------

FOUNDERS = families.random_phase(
    np.random.default_rng(0).binomial(2, 0.3, (40, 4000)).astype(np.uint8),
    np.random.default_rng(1))
FREE = np.full(4000, 0.5)  # every SNP on its own


def kinship_by_descent(relation: str, crossovers: np.ndarray) -> np.ndarray:
    """Kinship of pairs whose founders carry one marked copy each: shared copies, counted.

    With 2 k founder copies, copy c marked at the SNPs of stretch c, alleles descend from one copy
    exactly where both carry the mark. The expected share, times the number of copies, is kinship.
    """
    founders = families.FOUNDERS[relation]
    snps = len(crossovers)
    copy = np.arange(snps) % (2 * founders)
    marked = np.zeros((founders, 2, snps), np.uint8)
    for c in range(2 * founders):
        marked[c // 2, c % 2, copy == c] = 1
    victims, relatives = families.pairs(relation, marked, crossovers, 60, np.random.default_rng(2))
    return (victims.astype(int) * relatives).mean(axis=1) * 2 * founders / 4


@pytest.mark.parametrize("relation", families.RELATIONS)
def test_relatives_share_as_much_as_their_kinship_says(relation):
    found = kinship_by_descent(relation, FREE)
    error = found.std() / np.sqrt(len(found)) + 1e-3
    assert abs(found.mean() - families.RELATIONS[relation]) < 4 * error


def test_the_check_of_kinship_finds_a_wrong_pedigree(monkeypatch):
    monkeypatch.setattr(families, "child", lambda mothers, fathers, *_: mothers)
    assert abs(kinship_by_descent("cousin", FREE).mean() - 1 / 16) > 0.05


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_parent_and_child_never_differ_by_two(seed):
    victims, relatives = families.pairs("parent", FOUNDERS, FREE, 5, np.random.default_rng(seed))
    assert abs(victims.astype(int) - relatives).max() < 2


def test_a_gamete_changes_chromosome_where_crossovers_fall():
    parent = np.stack([np.zeros(6, np.uint8), np.ones(6, np.uint8)])[None]
    always = np.array([0.0, 0, 0, 1, 0, 0])
    assert families.gamete(parent, always, np.random.default_rng(0)).tolist() == [[0] * 3 + [1] * 3]


def test_crossovers_follow_the_map_and_chromosomes_are_independent():
    panel = tiny(position=(10, 20, 10), chromosome=np.array([1, 1, 2], np.int8),
                 centimorgans=np.array([0.0, 50.0, 0.0]))
    assert families.recombination(panel) == pytest.approx([0.5, (1 - np.exp(-1)) / 2, 0.5])
    far = tiny(position=(0, 10**6, 2 * 10**6))
    assert families.recombination(far)[1:] == pytest.approx([0.012, 0.012], rel=0.02)
    with pytest.raises(ValueError, match="goes backwards"):
        families.recombination(tiny(centimorgans=np.array([2.0, 1.0, 3.0])))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_random_phase_keeps_the_dosages(seed):
    rng = np.random.default_rng(seed)
    dosages = rng.integers(0, 3, (3, 20)).astype(np.uint8)
    haplotypes = families.random_phase(dosages, rng)
    assert (haplotypes.sum(axis=1) == dosages).all() and haplotypes.max() <= 1


def test_pairs_say_what_they_need():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="relation: 'twin' given"):
        families.pairs("twin", FOUNDERS, FREE, 1, rng)
    with pytest.raises(ValueError, match="founders: 3 given, expected 4 or more"):
        families.pairs("cousin", FOUNDERS[:3], FREE, 1, rng)
    with pytest.raises(ValueError, match=r"haplotypes: shape .* expected \(n, 2, 5\)"):
        families.gamete(FOUNDERS, np.full(5, 0.5), rng)


# --- Diseases ---------------------------------------------------------------------------------


@pytest.mark.parametrize("heritability", [0.1, 0.5, 1.0])
def test_liability_has_the_heritability_asked_for(heritability):
    """Cases and controls differ in genetic liability as the threshold model says."""
    rng = np.random.default_rng(0)
    dosages = rng.binomial(2, rng.uniform(0.1, 0.9, 60), (40_000, 60)).astype(np.uint8)
    affected = phenotypes.case_control(dosages, np.random.default_rng(1), prevalence=0.2,
                                       heritability=heritability)
    assert affected.mean() == pytest.approx(0.2, abs=1e-3)
    z = standardised(dosages, dosages.mean(axis=0) / 2).astype(float)
    half = len(z) // 2
    weights = np.linalg.lstsq(z[:half], affected[:half] - 0.2, rcond=None)[0]
    explained = np.corrcoef(z[half:] @ weights, affected[half:])[0, 1] ** 2
    # observed scale: h2 * z(K)^2 / (K (1 - K)) (Dempster and Lerner 1950)
    expected = heritability * norm.pdf(norm.ppf(0.8)) ** 2 / (0.2 * 0.8)
    assert explained == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize(("argument", "value"), [
    ("heritability", 0.0), ("heritability", 1.5), ("prevalence", 1), ("causal", np.nan)])
def test_shares_out_of_range_are_named(argument, value):
    with pytest.raises(ValueError, match=f"{argument}: "):
        phenotypes.case_control(np.array([[0], [1], [2]]), np.random.default_rng(0),
                                **{argument: value})


def test_a_disease_needs_a_snp_that_varies():
    with pytest.raises(ValueError, match="dosages: no SNP that varies"):
        phenotypes.case_control(np.ones((4, 3), np.uint8), np.random.default_rng(0))
