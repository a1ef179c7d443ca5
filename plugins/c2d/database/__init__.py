"""All SQL: the tables of jobs, nonces, consumers and notifications."""
