"""The browser in which the tests of a module open their pages."""

import pytest

from tests.support.browser import Browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    own = Browser(tmp_path_factory.mktemp("profile"))
    yield own
    own.close()
