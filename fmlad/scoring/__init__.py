"""How branch scores become one score, and how a score becomes a decision."""
