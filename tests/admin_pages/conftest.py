"""A gateway with people for the tests of a module."""

from tests.signin.people import shared_home  # noqa: F401 - a fixture
