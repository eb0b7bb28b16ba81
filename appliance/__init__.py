"""Condev Monitor: self-hosted front-end monitoring in one appliance."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("condev-monitor")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0.0.0"
