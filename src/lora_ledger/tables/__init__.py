"""The tables of a study: gathered evidence, measures, their rows, and how they are written.

In: records. Out: `Table` values and their CSV, Markdown and LaTeX. `tabulate` is the stage.
"""
