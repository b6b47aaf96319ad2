"""Losses L(F, y), convex in F (Section 2): every class here is a choice of `loss=`.

Regression labels are numbers; logistic labels are -1 or +1 (k = 1); cross-entropy labels are one-hot rows.
"""
