"""Compiled passes and what wraps them: attention, gates, decoding products, the head's loss."""
