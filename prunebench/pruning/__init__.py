"""Masks, how a density is allocated to layers, and the context that scores are computed in."""
