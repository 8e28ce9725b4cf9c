"""The few types that every room shares."""
