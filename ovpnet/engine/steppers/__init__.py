"""What takes the steps of each engine, in torch."""
