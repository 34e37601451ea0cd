"""What `scripts/bench` measures: a module for each group of sections, and what they share."""
