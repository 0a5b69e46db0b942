"""The performance figures, each beside its floor: `python -m bench`."""
