"""Fixtures that tests of several folders use."""

pytest_plugins = ["support.controlplane.fixtures"]
