"""Files: designs from model files."""
