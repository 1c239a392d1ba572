"""What config.yaml may say: the models of its blocks, what is shipped, and the reading of the file."""
