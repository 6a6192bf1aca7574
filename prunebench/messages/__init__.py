"""Text for people: suggestions, lengths of time, what is hidden, and plain text for each format."""
