"""What a run tells about itself: its folder, its state changes, its numbers and its state, all of them in files."""
