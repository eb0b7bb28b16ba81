"""How the appliance itself is doing."""
