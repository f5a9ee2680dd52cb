"""Training: torch and numpy, and no statistics package, so that it runs on a bare GPU machine."""
