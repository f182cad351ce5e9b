"""The edge: HTTP in, commands out, views back."""
