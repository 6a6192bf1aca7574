"""What a network looks like: its prunable weights and their FLOPs, and what it is as it is deployed."""
