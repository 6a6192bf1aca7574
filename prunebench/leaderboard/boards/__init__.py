"""Published boards: reading, comparing, merging and reproducing them."""
