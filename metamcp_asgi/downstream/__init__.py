"""The client-facing legs: one adapter for each era."""
