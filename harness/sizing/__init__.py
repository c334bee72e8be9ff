"""Would this hardware carry that model? Answered with a file of its shape, before it is downloaded."""
