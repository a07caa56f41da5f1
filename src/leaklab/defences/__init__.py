"""What a hospital or a federation can do against the attacks."""
