"""Where stages meet: the verbs of the Python API. The command line is a thin layer over these functions."""
