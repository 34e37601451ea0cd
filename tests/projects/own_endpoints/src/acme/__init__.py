"""An application of one's own."""
