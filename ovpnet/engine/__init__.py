"""Training engines: one interface, chosen by config; their results agree. Importing this package imports no torch."""
