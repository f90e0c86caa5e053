"""What families that learn from a few images share: what a network sees, its encoder and decoder, crops' pixels."""
