"""SAM, SAM-HQ and SAM 2 as mask proposers."""
