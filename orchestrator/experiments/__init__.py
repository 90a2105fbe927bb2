"""A batch of runs: the file that describes it, its plan, the comparison and the report."""
