"""Method ``psad``."""
