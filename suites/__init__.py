"""The shipped suites: YAML files, installed as package data and run by their names, as in `prunebench run digits`."""
