"""What every connector shares: values, errors, interface, toolkit, conformance suite, sandbox harness."""
