"""The method ``csad``; see ``method.py``."""
