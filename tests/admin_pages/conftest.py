"""A gateway with people, and one with servers of both eras, for the tests of a module."""

from tests.admin_pages.inspected import laboratory  # noqa: F401 - a fixture
from tests.signin.people import shared_home  # noqa: F401 - a fixture
