"""Attacks run and judged as a whole: what an update gives away, beside what needed no update."""
