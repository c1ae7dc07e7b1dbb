"""Access tokens on the data path: whose they are, found out once for each token; and what clients are told of that."""
