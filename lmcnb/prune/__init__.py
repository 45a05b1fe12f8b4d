"""Finding sparse subnetworks."""
