"""The generator of typed endpoint modules: pull, prepare, model, render, write, lock, each stage a module."""
