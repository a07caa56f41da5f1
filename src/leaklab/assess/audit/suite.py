"""Which attacks an audit tries on which records, with their papers and how they are scored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from leaklab.assess.audit.trying import (
    Case,
    Outcome,
    name_tokens,
    read_batch,
    read_genotypes,
    read_labels,
    read_rows,
    search_inputs,
    tell_members,
)


@dataclass(frozen=True)
class Attack:
    """How an attack is called in the report, and what it is scored by.

    ``success`` is what the value counts, ``blind`` how the baseline is made, ``granted`` what the
    attacker is given beside the view.
    """

    name: str
    source: str
    metric: str
    success: str
    blind: str
    granted: str
    run: Callable[[Case], Outcome]


LABELS = Attack("labels off the last bias", "Zhao et al. (2020, arXiv:2001.02610); Wainakh et al. "
                "(2022, doi:10.2478/popets-2022-0043)", "labels read", "share of labels right",
                "the class shares of public records", "the number of records", read_labels)
ROWS = Attack("first dense layer, neuron by neuron", "Phong et al. (2018, "
              "doi:10.1109/TIFS.2017.2787987)", "records read",
              "share of records of which every entry is within 2 % of its range",
              "the mean and the commonest public record", "nothing", read_rows)
BATCH = Attack("first dense layer, whole batch (SPEAR)", "Dimitrov et al. (2024, "
               "arXiv:2403.03945)", "records read", ROWS.success, ROWS.blind,
               "the number of records", read_batch)
GENOTYPES = Attack("genotypes out of the first dense layer", "Phong et al. (2018, "
                   "doi:10.1109/TIFS.2017.2787987); Kariyappa et al. (2023, arXiv:2209.05578)",
                   "records read", "share of genomes right at every SNP",
                   "the commonest genotype at each SNP", "allele frequencies", read_genotypes)
TOKENS = Attack("tokens off the embedding", "Gupta et al. (2022, arXiv:2205.08514)",
                "tokens named", "F1 of the tokens named", "as many of the commonest tokens",
                "nothing", name_tokens)
SEARCH = Attack("gradient matching", "Geiping et al. (2020, arXiv:2003.14053)", "records matched",
                "share of guesses nearer to their own record than to any other",
                "chance: the records of the view, out of all that a guess is compared with",
                "labels and number of records", search_inputs)
MEMBERS = Attack("membership by loss", "Yeom et al. (2018, arXiv:1709.01604)", "membership AUC",
                 "AUC of the loss, members against others",
                 "the same records under the model before the round", "the records asked about",
                 tell_members)

ON_UPDATES = {"image": (LABELS, ROWS, BATCH, SEARCH), "tabular": (LABELS, ROWS, BATCH, SEARCH),
              "tokens": (LABELS, TOKENS), "genotypes": (LABELS, GENOTYPES)}
"""What is tried on updates, sums and differences, by kind of record."""
ON_RELEASES = (MEMBERS,)
"""What is tried on a released model."""
