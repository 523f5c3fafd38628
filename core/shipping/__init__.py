"""What lies behind `core.weights`: recipe, slices, network, judgement."""
