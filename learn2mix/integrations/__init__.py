"""learn2mix under other Trainers: one module for each, loaded only where it is imported."""
