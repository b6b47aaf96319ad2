"""The steppers, which take the steps of the engines, in torch."""
