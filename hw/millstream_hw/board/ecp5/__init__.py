"""What boards with an ECP5 of Lattice have in common."""
