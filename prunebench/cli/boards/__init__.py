"""The commands on results that were tracked and on published boards."""
