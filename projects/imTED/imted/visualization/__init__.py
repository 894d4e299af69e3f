"""Pictures: annotations and predictions, curves, reconstructions."""
