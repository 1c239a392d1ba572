"""How fast the loader is, and how much memory it takes, beside what else could do the same work."""
