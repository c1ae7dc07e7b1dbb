"""Where log lines go, and how they look."""
