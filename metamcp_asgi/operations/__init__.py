"""What those who run a gateway ask it: whether it can serve, and its numbers."""
