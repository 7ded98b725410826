"""What a film will cost, said before anything long runs."""
