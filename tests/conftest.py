"""For all tests of the harness: pytest's own fixture for trying plugins, and signals as a terminal has them."""

import signal

pytest_plugins = ["pytester"]

# Whoever starts the tests with nohup, or in the background of a script, has them ignore these, and every process of theirs too.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
