"""OpenNebula contextualization as a guest meets it: variables, context.sh, token.txt and their ISO."""
