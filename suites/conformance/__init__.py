"""What must hold of a running appliance; the names of the tests are the specification."""
