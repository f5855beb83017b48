"""The verbs: what each command does, from its configuration to its artefact. The only package that knows Hydra."""
