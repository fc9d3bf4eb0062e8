"""From masks to parts: objects described, grouped, counted and named."""
