"""What the user wrote, checked: YAML to frozen models, with file, line and column in every complaint."""
