"""The way back: from the loss of each sample to the mean loss of each group, and to the mixer."""
