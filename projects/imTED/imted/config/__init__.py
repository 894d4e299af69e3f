"""From a config file and overrides to what runs, resolved once."""
