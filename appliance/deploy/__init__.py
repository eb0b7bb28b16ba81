"""Sizing, rendering and applying the Compose stack."""
