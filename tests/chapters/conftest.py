"""A progress file of its own for every test that checks an answer."""

from ..tutor.conftest import home  # noqa: F401
