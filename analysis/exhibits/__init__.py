"""What a store shows, each thing described once: data, axes, marks and words, which analysis/render/ draws.

An exhibit is one class in one module of this package (see `registry.Exhibit`), made of the vocabulary of `base`. It
appears in every medium that it names, and no list has to learn of it.
"""
