"""What people see in a browser: pages rendered here, from the functions that the command line uses."""
