"""Was this record in the training data? From what a model answers, and from updates."""
