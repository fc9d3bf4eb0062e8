"""The method ``sam-lad``; see ``method.py``."""
