"""The transfer-learning study: what a study asks for is planned, made repeat by repeat, and written."""
