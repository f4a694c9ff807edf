"""From composed batches to the loop: handed out by number, with a state."""
