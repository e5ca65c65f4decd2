"""The range that the integers of an activation cover: four ways to find it, and the choice among them."""
