"""Few-shot tasks of images: folders by class, and procedural characters."""
