"""Who may see and do what on the page, and what is refused before a page is asked."""
