"""Pictures in, restored pictures out: reading and writing files, tiles, whole folders."""
