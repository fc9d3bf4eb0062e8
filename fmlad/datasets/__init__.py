"""Datasets: sample worlds made by the program, and real layouts on disk."""
