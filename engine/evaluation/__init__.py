"""How good a model is, with errors: the bound on held-out text, infilling, lengths, cost, and a sheet for a human judge."""
