"""The first-party plugins, each written on `appliance.hookspecs` and `appliance.model` alone."""
