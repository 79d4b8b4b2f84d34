"""What is pure, or needs nothing but this process: parsers, tables, decisions."""
