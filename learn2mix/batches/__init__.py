"""From proportions to batches: composed in the process that trains, read by workers, carried to the loop."""
