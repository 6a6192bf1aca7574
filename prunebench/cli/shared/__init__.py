"""What several commands share: options, output, progress, and the trials of a published row."""
