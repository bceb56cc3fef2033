"""Plain types, recipes, errors, files and run folders. Imports neither torch nor a web framework."""
