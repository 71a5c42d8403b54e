"""What the page answers, a module for each noun: `routes` of each are collected by `web.app`."""
