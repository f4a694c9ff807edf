"""From proportions to exact batches, composed in the process that trains, and the losses that come back for them."""
