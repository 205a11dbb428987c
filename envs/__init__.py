"""What can be practised: task families, their variations, and the workers that step them."""
