"""Settings of an experiment: YAML files, and the vocabularies they use."""
