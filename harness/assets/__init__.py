"""What must be on disk before a machine can start: QEMU, the compiler, the guests. Everything is kept in one cache."""
