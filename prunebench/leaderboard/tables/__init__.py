"""A leaderboard as Markdown, HTML, LaTeX and for the terminal."""
