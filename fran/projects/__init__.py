"""Projects: which cases there are, in which fold, and the properties of the training data as a whole."""
