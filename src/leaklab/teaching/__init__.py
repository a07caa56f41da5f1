"""What labs need beside the library: pictures to scrub through, listings, checked exercises."""
