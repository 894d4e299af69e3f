"""Guests: imported by their command lines alone; each can be deleted with its command and page."""
