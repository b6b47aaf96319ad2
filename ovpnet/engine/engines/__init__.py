"""The engines: what each covers and what it takes. A new file here is a new engine; importing one imports no torch."""
