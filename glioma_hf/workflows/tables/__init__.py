"""Tables of the benchmark: what a table asks for is planned, made piece by piece, and written."""
