"""From masks to parts: appearance, counts, places, names. No models, no I/O."""
