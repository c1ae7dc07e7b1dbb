"""The REST management API under ``/api/v1``: every object of the store and every action, described by OpenAPI."""
