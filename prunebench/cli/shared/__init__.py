"""Code that several commands use: options, output, progress, and the trials of a published row."""
