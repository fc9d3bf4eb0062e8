"""The method ``psad``; see ``method.py``."""
