"""Base models on disk: where they come from, checks, how they are kept. Looking up is pure; pulling is explicit."""
