"""The page: what runs, what it learned and what it looks like, in a browser."""
