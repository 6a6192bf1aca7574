"""The training loop, recipes, optimizers, the state that it hands on and what it costs."""
