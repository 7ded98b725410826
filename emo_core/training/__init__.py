"""The three stages of the paper, the small networks of the demo, and the data they read."""
