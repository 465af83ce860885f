"""The pages and the control API: show what the commands show, and pass on what a person wishes."""
