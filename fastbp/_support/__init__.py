"""What every room shares: argument checks, the declarative base class, files and random streams."""
