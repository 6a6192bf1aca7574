"""Masks, the allocation of a density to layers, and the context that scores are computed in."""
