"""Tests of arm64 virtual machines that get interrupted: paused, saved, restored, migrated."""
