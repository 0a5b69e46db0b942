"""Says before a migration what will become of it: what two hosts are, and what follows."""
