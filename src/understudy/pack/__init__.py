"""The evidence of one upgrade in one file, for whoever asks a year later what was changed, by whom and why."""
