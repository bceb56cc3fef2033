"""Versions: immutable models that can be served."""
