"""Provisions that decide, as the worksheet prints them, and the dates it computes with.

As of November 2026. Draft guidance is called draft wherever it is printed. A test holds the dates
against those of the book's law pages.
"""

from __future__ import annotations

from datetime import date, timedelta

AS_OF = "November 2026"

AI_ACT_DEVICES = date(2028, 8, 2)
"""High-risk duties of the AI Act for medical devices, by Regulation (EU) 2026/1744."""
EHDS_SECONDARY = date(2029, 3, 26)
"""EHDS Chapter IV, secondary use: Article 105."""
EHDS_GENOMES = date(2031, 3, 26)
"""The same for genetic and genomic data."""

TO_AUTHORITY = timedelta(hours=72)
"""From becoming aware of a breach: GDPR 33(1)."""
TO_INDIVIDUALS = timedelta(days=60)
"""From discovery, at most and without unreasonable delay: 45 CFR 164.404(b)."""
MEDIA_ABOVE = 500
"""Residents of one State, beyond whom the media are told: 45 CFR 164.406."""
HHS_FROM = 500
"""People from whom on the Secretary is told at the same time: 45 CFR 164.408(b)."""

PROCESSOR = "draft EDPB Guidelines 02/2026 paragraph 15"
SENDER = "EDPS v SRB (C-413/23 P) paragraph 76"
RECIPIENT = "EDPS v SRB (C-413/23 P) paragraphs 77 and 85"
MODEL = "EDPB Opinion 28/2024 paragraphs 34 and 43"
AGGREGATE = "draft EDPB Guidelines 02/2026 paragraphs 17 and 77"
CRITERIA = "draft EDPB Guidelines 02/2026 section 3.4"
INSIGNIFICANT = "EDPB Opinion 28/2024 paragraph 43"
EVERYBODY = "draft EDPB Guidelines 02/2026 paragraph 36"

SECOND_HAND = ("EDPS v SRB paragraph 76", "45 CFR 164.414")
FROM_MEMORY = ("WP 248", "AI Act 10 and Annex IV", "45 CFR 160.103")
"""What the law pages mark so, of what is printed here."""
