"""What runs against an environment: a command, a Python callable or a folder of SQL."""
