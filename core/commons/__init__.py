"""The Imaging Data Commons: its index, its files."""
