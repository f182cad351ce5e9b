"""The write side: who owns which aggregate, and what an event sets in motion."""
