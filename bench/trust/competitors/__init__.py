"""One file a library: `Competitor` with build, search, add, save and load over rows of float32, squared Euclidean."""
