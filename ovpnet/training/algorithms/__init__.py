"""Algorithms beside the plain SGD step."""
