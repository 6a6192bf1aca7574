"""The training loop, recipes, optimizers, states and the cost ledger."""
