"""From the rows of a store to a verdict: does the sample complexity scale with the width?"""
