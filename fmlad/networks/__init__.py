"""Plain networks, with shapes in their docstrings; weights are loaded elsewhere."""
