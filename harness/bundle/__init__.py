"""The release bundle: what the marketplace gets, made from an image and its results, and checked."""
