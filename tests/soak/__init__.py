"""`make soak`: ten minutes of everything at once, clients of every kind while workers and servers are killed."""
