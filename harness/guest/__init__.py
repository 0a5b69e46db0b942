"""Talking with a guest: the payloads' protocol, one payload, and what is particular to each."""
