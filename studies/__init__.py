"""The full measurements behind the labs: ``python -m studies`` runs them (`make evidence`)."""
