"""Exhibits, each described once: data, axes, marks and words of what a store shows; analysis/render/ draws them.

An exhibit is one class in one module of this package (see `registry.Exhibit`), made of the vocabulary of `base`. It
appears in every medium that it names, and no list has to learn of it.
"""
