"""Fixtures of pytest itself that tests of the plug-in need."""

pytest_plugins = ["pytester"]
