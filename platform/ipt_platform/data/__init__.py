"""The road of the data: clean photographs, shards and their indexes, the plan, degraded/clean pairs, batches."""
