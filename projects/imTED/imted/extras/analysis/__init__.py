"""What a detector's predictions are worth, and where they go wrong: on a json's annotations."""
