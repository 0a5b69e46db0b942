"""Where commands and QEMU run, and how many vCPUs may run there at once."""
