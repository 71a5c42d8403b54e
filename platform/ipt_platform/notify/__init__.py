"""Notifications: signed webhooks that say when the state of a run changes."""
