"""The diagnostics: what is measured along training besides risks.

`choices` says what there is, and the other modules compute it.
"""
