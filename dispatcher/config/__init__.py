"""The one YAML file: its models, how it is read, what its references lead to, and its JSON Schema."""
