"""States in fewer bytes: the dtype of each is chosen by what it does to the step over a long real stream."""
