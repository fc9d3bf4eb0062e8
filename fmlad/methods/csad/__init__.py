"""CSAD: pseudo-labels, a part segmenter, patch histograms, and two students of one teacher."""
