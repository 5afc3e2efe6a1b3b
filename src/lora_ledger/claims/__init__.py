"""What the papers say: their claims, their published numbers, and what is made of both.

In: `claims.yaml` beside this file, the tables in `results/published/`, verdicts of studies.
Out: typed claims and values. It runs nothing, and decides no claim.
"""
