"""What people run: install, check, test, demo, up, bench."""
