"""The admin pages: the management API for people, with a browser."""
