"""Speed measured side by side: `python launch.py bench`."""
