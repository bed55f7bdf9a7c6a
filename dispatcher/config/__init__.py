"""The configuration, which is one YAML file: its models, its reader, its secret references and its JSON Schema."""
