"""The plots of a leaderboard."""
