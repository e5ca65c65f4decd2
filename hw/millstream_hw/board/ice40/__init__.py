"""What boards with an iCE40 UltraPlus of Lattice have in common."""
