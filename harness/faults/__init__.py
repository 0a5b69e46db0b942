"""Migrations that fail on purpose: at which phase, in which way, and how many guests live afterwards."""
