"""Paired comparison of models on held-out items: statistics, verdicts, a terminal table and an HTML report."""
