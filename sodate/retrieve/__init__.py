"""Retrieval: documents become passages with a place, and an index finds them again."""
