"""The parts that all connectors share: values, errors, interface, toolkit, kit, runner."""
