"""Listening tests: a static page that people rate sounds on, and what their ratings say."""
