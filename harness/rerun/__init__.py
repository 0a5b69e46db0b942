"""A bundle tried again: here or elsewhere (`repro`), with less and less around it (`minimise`), on each of many (`bisect`).

A bundle holds a `Plan`, which says what is to be run, the `Failure` that it ended in, and the identity of all inputs. The plan
goes to the plugin as a file (`pytest --replay FILE`), so a case that is tried again needs neither the matrix that once chose
it nor an id, and may differ from what its scenario has (`Changes`).
"""
