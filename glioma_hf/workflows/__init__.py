"""What a command does, for any family of models."""
