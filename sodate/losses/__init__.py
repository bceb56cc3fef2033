"""Pure functions: tensors in, tensors out. Imports torch and nothing of the house."""
