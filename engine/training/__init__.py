"""Training: corpora, the objective, `train`, tuning, and what is taught to a finished model."""
