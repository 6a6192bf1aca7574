"""From trials to a graph of jobs with content keys. Nothing runs here."""
