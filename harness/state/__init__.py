"""The state of a machine: bytes in, facts out. Nothing here starts, reads or waits for anything but a file."""
