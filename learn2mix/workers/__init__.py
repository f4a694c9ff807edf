"""What a worker process reads for a request, and how the answer travels."""
