"""What the disk cannot hold: dead properties, locks, the gate and the journal of changes."""
