// The slow truth lands here.
