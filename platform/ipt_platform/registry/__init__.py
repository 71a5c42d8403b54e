"""What outlives a run: trained task biases as packs that say what they are, what they do and where they came from."""
