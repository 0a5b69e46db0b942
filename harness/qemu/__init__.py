"""One machine: spec to command line, process, QMP, console, gdb stub, migration."""
