"""The method ``banks``; see ``method.py``."""
