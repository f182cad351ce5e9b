"""Each figure a script that prints one table, or one flat object with --json."""
