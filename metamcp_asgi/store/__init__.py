"""The configuration in SQL: what the file says, kept in SQLite or PostgreSQL and edited while it is served."""
