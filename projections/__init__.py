"""The read side: events folded into tables that can be queried."""
