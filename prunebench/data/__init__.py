"""Data sets in memory and streamed, their splits, augmentation, and the seeds that everything is drawn from."""
