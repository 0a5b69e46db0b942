"""The small project of scenarios that tests of the plugin use too."""

from tests.plugin.conftest import payloads, project

__all__ = ["payloads", "project"]
