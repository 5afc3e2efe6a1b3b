"""The sandbox: generated code runs here, in a confined process, and nowhere else."""
