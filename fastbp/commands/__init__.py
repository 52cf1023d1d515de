"""What the commands of `fastbp.cli` do."""
