"""The fork server: a process for each job, and the end of all that belongs to it."""
