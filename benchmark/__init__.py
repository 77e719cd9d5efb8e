"""The engine: command line, registry, configuration, store, runner and training harness."""
