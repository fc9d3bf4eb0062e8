"""CLIP and SigLIP as text aligners."""
