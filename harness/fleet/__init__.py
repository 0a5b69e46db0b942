"""One suite on many machines: who gets which cases, job files for others' schedulers, and a run over SSH."""
