"""For all tests of the harness: pytest's own fixture for trying plugins."""

pytest_plugins = ["pytester"]
