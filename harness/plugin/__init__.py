"""The pytest plugin: options, the matrix of cases, fixtures, verdicts. Nothing else imports pytest."""
